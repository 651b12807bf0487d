package broker

import "time"

// contest is a client id that connections take from each other (MQTT-3.1.4-3).
// Whoever loses it and comes back at once waits before CONNECT is looked at, and
// longer each time. Otherwise clients that were given one id by mistake would
// keep the shard busy with nothing else, and none of them would get anything done.
//
// The first takeover never waits: that is how a client comes back whose old
// connection is dead and was not noticed.
type contest struct {
	id        string
	last      time.Duration // when the id was taken over last
	takeovers int
	logged    bool
	timer     timer // its end
}

const (
	// maxReconnects is how many client ids and addresses a shard remembers for
	// limits.reconnects: 256 KiB, from the first on. Guess.
	maxReconnects = 1 << 14

	// atOnceAfter is the time after a takeover in which a CONNECT waits.
	// Clients that wait before they connect again wait a second at least.
	atOnceAfter = time.Second

	// The wait doubles with each takeover. The longest is below the time that
	// clients wait for CONNACK, of which 5 s are the shortest in the field.
	firstWait = 100 * time.Millisecond
	maxWait   = 3200 * time.Millisecond

	// contestEnds is how long after the last takeover it is forgotten.
	contestEnds = 10 * time.Second

	// maxContests of a shard are known, which take 200 KB. When there are
	// more, any one is forgotten for the next.
	maxContests = 1024
)

// contests are those of a shard.
type contests struct {
	byID   map[string]*contest
	timers *wheel
}

func (all *contests) init(timers *wheel) { all.byID, all.timers = map[string]*contest{}, timers }

// delay is how long a CONNECT with a client id has to wait that another
// connection uses.
func (all *contests) delay(id string, now time.Duration) time.Duration {
	ct := all.byID[id]
	if ct == nil || now-ct.last >= atOnceAfter {
		return 0
	}
	return min(firstWait<<min(ct.takeovers-1, 10), maxWait)
}

// takeover counts a takeover of a client id.
func (all *contests) takeover(id string, now time.Duration) {
	ct := all.byID[id]
	if ct == nil {
		for _, other := range all.byID {
			if len(all.byID) < maxContests {
				break
			}
			all.timers.stop(&other.timer)
			delete(all.byID, other.id)
		}
		ct = &contest{id: id}
		ct.timer.owner = ct
		all.byID[id] = ct
		all.timers.start(&ct.timer, now+contestEnds)
	}
	ct.takeovers++
	ct.last = now
}

// expire implements expirer.
func (ct *contest) expire(s *shard) { s.contests.expire(ct, s.now) }

// expire ends a contest, unless there was another takeover lately.
func (all *contests) expire(ct *contest, now time.Duration) {
	if ends := ct.last + contestEnds; ends > now {
		all.timers.start(&ct.timer, ends)
		return
	}
	delete(all.byID, ct.id)
}
