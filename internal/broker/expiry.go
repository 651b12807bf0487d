package broker

import (
	"time"

	"midge/internal/packet"
	"midge/internal/routing"
)

// away is what a session needs only while its client is not connected.
type away struct {
	client *client
	timer  timer         // the session's end, or its will's delay
	ends   time.Duration // when the session ends
}

// capExpiry applies the setting for the longest time to an interval in seconds.
func (s *shard) capExpiry(seconds uint32) uint32 {
	if limit := s.settings.Session.MaxExpiry / time.Second; limit > 0 && limit < never {
		return min(seconds, uint32(limit))
	}
	return seconds
}

// setExpiry changes how long the session of a client that leaves lasts
// (MQTT 5.0 section 3.14.2.2.2). Until that is on disk, no CONNECT may build on
// it.
func (s *shard) setExpiry(cl *client, seconds uint32) {
	if seconds == cl.expiry {
		return
	}
	cl.expiry = seconds
	if !cl.stored() || seconds == 0 { // 0: it ends now
		return
	}
	s.writeSession(cl, s.now)
	cl.persisted = false
	s.promise(promise{then: func() { cl.persisted = cl.stored() }})
}

// leave begins the time that a client is away, in which its session is kept
// (MQTT-3.1.2-23). since may be before the process began.
func (s *shard) leave(cl *client, since time.Duration) {
	cl.away = &away{client: cl, ends: forever}
	cl.away.timer.owner = cl.away
	if cl.expiry != never {
		cl.away.ends = since + time.Duration(cl.expiry)*time.Second
	}
	if w := cl.will(); w != nil {
		w.due = since + w.delay
	}
}

// arm sets the timer of a client that is away.
func (s *shard) arm(a *away) {
	at := a.ends
	if w := a.client.will(); w != nil {
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
	if w := cl.will(); w != nil && w.due <= s.now {
		s.publishWill(cl)
	}
	s.arm(a)
}

// back ends the time that the client was away.
func (s *shard) endAway(cl *client) {
	if cl.away != nil {
		s.timers.stop(&cl.away.timer)
		cl.away = nil
	}
}

// endSession forgets a session whose client is away (MQTT-4.1.0-2). Its will is published
// now, if that has not been done (MQTT-3.1.3.2.2), and what it had of shared
// subscriptions goes to other members.
func (s *shard) endSession(cl *client) {
	s.endAway(cl)
	if s.clients.Get(cl.id) == cl {
		s.clients.Remove(cl.id)
	}
	s.count.Disconnected--
	s.publishWill(cl)
	e := &ending{number: cl.session.Number}
	for sub := range cl.subs.All {
		switch {
		case !cl.stored():
		case sub.Group != nil:
			e.shares = append(e.shares, sub.Filter)
		default:
			s.disk.turn().DeleteSubscription(cl.session.Number, sub.Filter)
		}
		s.drop(sub)
	}
	s.handOverAll(cl, e)
	s.wakeQueues(cl)
	cl.subs = routing.Subscriptions[*client]{}
	if !cl.stored() {
		cl.session.Clear() // a route that nobody publishes to may hold the client for long
		return
	}
	if e.sealed = true; e.any {
		cl.expiry = 0 // so that a start ends it again
		s.writeSession(cl, s.now)
	}
	e.finish(s)
	s.disk.ended = append(s.disk.ended, cl)
}

// expiryOf is how long the session outlives its connection, in seconds. Before 5.0 a
// session without Clean Session never ends.
func (s *shard) expiryOf(p *packet.Connect) uint32 {
	switch {
	case p.Version == packet.V5:
		return s.capExpiry(p.Properties.SessionExpiry)
	case p.CleanStart:
		return 0
	}
	return s.capExpiry(never)
}

// sweeper is the timer by which shard 0 removes retained messages whose time is
// over. Nobody gets them in the meantime.
type sweeper struct{ timer timer }

const (
	sweepEvery = time.Second
	sweepIdle  = 10 * time.Second // so often it looks whether some have come
)

func (y *sweeper) start(s *shard) {
	y.timer.owner = y
	s.timers.start(&y.timer, 0)
}

// expire implements expirer.
func (y *sweeper) expire(s *shard) {
	next := s.now + sweepEvery
	if s.disk.failing() == nil && !s.disk.busy() {
		due, more := s.b.retained.Sweep(s.now)
		switch {
		case !more:
			next = s.now + sweepIdle
		case due > s.now:
			next = min(max(due, s.now+sweepEvery), s.now+sweepIdle)
		default:
			next = s.now + tick
		}
	}
	s.timers.start(&y.timer, next)
}
