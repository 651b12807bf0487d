package broker

import (
	"math"
	"sync/atomic"
	"time"

	"midge/internal/session"
)

// client is a session as its shard sees it, with what the pure session does
// not know: connection, subscriptions, will, and when it ends.
type client struct {
	id      string
	session session.Session
	conn    *conn // nil while the client is away
	subs    subscriptions
	will    *will
	away    *away         // nil while the client is connected
	backlog *backlog      // retained messages that are still to be sent
	expiry  time.Duration // Session Expiry Interval; forever: never
	load    atomic.Int32  // unacknowledged and waiting messages, kept if in a group
	shared  int32         // shared subscriptions
	mark    uint32        // of the last call of findReceivers that met it,
	markAt  uint32        // and where in its result
}

// away is what a session needs only while its client is not connected.
type away struct {
	client *client
	timer  timer         // the session's end, or its will's delay
	ends   time.Duration // when the session ends
}

// forever is an expiry interval that never ends.
const forever = time.Duration(math.MaxInt64)

// expiry returns a Session Expiry Interval as a duration.
func expiry(seconds uint32) time.Duration {
	if seconds == math.MaxUint32 {
		return forever
	}
	return time.Duration(seconds) * time.Second
}

// capExpiry applies the setting for the longest time.
func (s *shard) capExpiry(d time.Duration) time.Duration {
	if most := s.b.cfg.Session.MaxExpiry; most > 0 {
		return min(d, most)
	}
	return d
}

// detach is what follows the end of a client's network connection. will tells
// that it was not ended in order (MQTT-3.1.2-8).
func (s *shard) detach(cl *client, will bool) {
	cl.conn = nil
	s.count.Connected--
	s.count.Disconnected++
	cl.session.Detach()
	cl.backlog = nil
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
	if cl.expiry != forever {
		cl.away.ends = s.now + cl.expiry
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
