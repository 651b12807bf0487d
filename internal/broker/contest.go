package broker

import (
	"time"
)

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
	told      bool  // the log knows
	timer     timer // its end
}

const (
	// atOnceAfter is the time after a takeover in which a CONNECT waits.
	// Clients that wait before they connect again wait a second at least.
	atOnceAfter = time.Second

	// The wait doubles with each takeover. The longest is below the time that
	// clients wait for CONNACK, of which 5 s are the shortest in the field.
	firstWait = 100 * time.Millisecond
	mostWait  = 3200 * time.Millisecond

	// contestEnds is how long after the last takeover it is forgotten.
	contestEnds = 10 * time.Second

	// mostContests of a shard are known, which take 200 KB. When there are
	// more, any one is forgotten for the next.
	mostContests = 1024
)

// wait is how long a CONNECT with a client id has to wait.
func (s *shard) wait(id string) time.Duration {
	ct := s.contests[id]
	if ct == nil || s.now-ct.last >= atOnceAfter {
		return 0
	}
	if cl := s.clients.Get(id); cl == nil || cl.conn == nil {
		return 0 // there is nobody to take it from
	}
	return min(firstWait<<min(ct.takeovers-1, 10), mostWait)
}

// takenOver takes note of a takeover.
func (s *shard) takenOver(id string) {
	s.count.TakenOver++
	ct := s.contests[id]
	if ct == nil {
		for _, other := range s.contests {
			if len(s.contests) < mostContests {
				break
			}
			s.timers.stop(&other.timer)
			delete(s.contests, other.id)
		}
		ct = &contest{id: id}
		ct.timer.owner = ct
		s.contests[id] = ct
		s.timers.start(&ct.timer, s.now+contestEnds)
	}
	ct.takeovers++
	ct.last = s.now
}

// expire implements expirer.
func (ct *contest) expire(s *shard) {
	if ends := ct.last + contestEnds; ends > s.now {
		s.timers.start(&ct.timer, ends)
		return
	}
	delete(s.contests, ct.id)
}
