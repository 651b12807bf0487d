package broker

import (
	"math"
	"sync/atomic"
	"time"

	"midge/internal/session"
)

// client is a session as its shard sees it, with what the pure session does
// not know: connection, subscriptions, will, and when it ends. Its fields fill
// 96 bytes with four to spare; more would cost 16.
type client struct {
	id      string
	session session.Session
	conn    *conn // nil while the client is away
	subs    subscriptions
	will    *will
	away    *away        // nil while the client is connected
	expiry  uint32       // Session Expiry Interval, seconds; never: it does not end
	load    atomic.Int32 // unacknowledged and waiting messages, kept if in a group
	shared  int32        // shared subscriptions
}

// away is what a session needs only while its client is not connected.
type away struct {
	client *client
	timer  timer         // the session's end, or its will's delay
	ends   time.Duration // when the session ends
}

// forever is a time that never comes.
const forever = time.Duration(math.MaxInt64)

// never is the Session Expiry Interval of a session that does not end.
const never = math.MaxUint32

// capExpiry applies the setting for the longest time to an interval in seconds.
func (s *shard) capExpiry(seconds uint32) uint32 {
	if most := s.b.cfg.Session.MaxExpiry / time.Second; most > 0 && most < never {
		return min(seconds, uint32(most))
	}
	return seconds
}

// detach is what follows the end of a client's network connection. will tells
// that it was not ended in order (MQTT-3.1.2-8).
func (s *shard) detach(cl *client, will bool) {
	cl.conn = nil
	s.count.Connected--
	s.count.Disconnected++
	cl.session.Detach()
	delete(s.backlogs, cl)
	s.setOnline(cl, false)
	if !will {
		cl.will = nil // MQTT-3.1.2-10
	}
	if cl.expiry == 0 {
		s.endSession(cl)
		return
	}
	cl.away = &away{client: cl, ends: forever}
	cl.away.timer.owner = cl.away
	if cl.expiry != never {
		cl.away.ends = s.now + time.Duration(cl.expiry)*time.Second
	}
	if cl.will != nil {
		cl.will.due = s.now + cl.will.delay
		if cl.will.delay == 0 {
			s.publishWill(cl)
		}
	}
	s.arm(cl.away)
}

// arm sets the timer of a client that is away.
func (s *shard) arm(a *away) {
	at := a.ends
	if w := a.client.will; w != nil {
		at = min(at, w.due)
	}
	if at != forever {
		s.timers.start(&a.timer, at)
	}
}

// expire implements expirer.
func (a *away) expire(s *shard) {
	cl := a.client
	if a.ends <= s.now {
		s.count.Expired++
		s.endSession(cl)
		return
	}
	if cl.will != nil && cl.will.due <= s.now {
		s.publishWill(cl)
	}
	s.arm(a)
}

// back ends the time that the client was away.
func (s *shard) back(cl *client) {
	if cl.away != nil {
		s.timers.stop(&cl.away.timer)
		cl.away = nil
	}
}

// endSession forgets a session whose client is away. Its will is published
// now, if that has not been done (MQTT-3.1.3.2.2), and what it had of shared
// subscriptions goes to other members.
func (s *shard) endSession(cl *client) {
	s.back(cl)
	delete(s.clients, cl.id)
	s.count.Disconnected--
	s.publishWill(cl)
	for sub := range cl.subs.all {
		s.drop(sub)
	}
	cl.subs = subscriptions{}
}

// setOnline tells the client's groups whether it is connected.
func (s *shard) setOnline(cl *client, online bool) {
	if cl.shared == 0 {
		return
	}
	for sub := range cl.subs.all {
		if sub.group == nil {
			continue
		}
		sub.group.setOnline(cl, online)
		if !online && sub.group.anyOnline() {
			s.handOver(cl, sub.group)
		}
	}
}
