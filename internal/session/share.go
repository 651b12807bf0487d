package session

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Taken is a message that a session gives away. The journal does not note
// that it is finished; that is up to whoever takes the message.
type Taken struct {
	Message *message.Message // nil if its content must be read
	Stored  message.Stored
	QoS     packet.QoS
	Group   any // the shared subscription it came by, nil if none
}

func (e *entry) taken() Taken {
	return Taken{Message: e.m, Stored: e.stored(), QoS: e.qos(), Group: e.group()}
}

// TakeShared removes the messages of a shared subscription that the client has
// not got, in order, and hands them to yield: others of the group shall have
// them (MQTT 5.0 section 4.8.2). While the session goes on, these are the ones that were
// not sent yet.
func (s *Session) TakeShared(group any, yield func(Taken)) {
	s.takeShared(func(e *entry) bool { return e.group() == group }, false, yield)
}

// TakeAllShared is TakeShared for a session that ends, and all of its shared
// subscriptions, also those that it had before: besides, it takes messages that
// were sent at QoS 1 and not acknowledged. At QoS 2, what was sent goes to nobody
// else (MQTT-4.8.2-5).
func (s *Session) TakeAllShared(yield func(Taken)) {
	s.takeShared(func(e *entry) bool { return e.group() != nil }, true, yield)
}

func (s *Session) takeShared(of func(*entry) bool, sent bool, yield func(Taken)) {
	if s.flow == nil {
		return
	}
	// yield may deliver to this session again, so that it must be right before.
	var taken []Taken
	if sent {
		for i := range s.inflight.all() {
			if e := &s.inflight.all()[i]; e.state != done && of(&e.entry) && !e.mayHave() {
				taken = append(taken, s.give(e))
			}
		}
		s.inflight.compact()
	}
	s.queue.removeVia(func(e entry) bool {
		if !of(&e) {
			return false
		}
		taken = append(taken, e.taken())
		return true
	})
	for _, t := range taken {
		yield(t)
	}
}

// give ends an exchange whose message goes to somebody else. compact follows.
func (s *Session) give(e *exchange) Taken {
	t := e.taken()
	e.parcel = nil // whoever has the message may need it for longer: it is not released
	s.endExchange(e)
	return t
}

// refuse ends a message that is too large for the client, before it has begun.
func (s *Session) refuse(e *entry, d *Drops) {
	if e.group() != nil {
		d.Refused = append(d.Refused, e.taken())
		return
	}
	s.finish(e.stored())
	d.TooLarge++
}

// Take removes the message that was queued first from a session that only holds
// messages for others. Expired is how many it dropped before because they
// had expired; ok is false if none is left.
func (s *Session) Take(now time.Duration) (t Taken, expired int, ok bool) {
	for s.Queued() > 0 {
		e := s.queue.front()
		s.queue.pop()
		if !e.expired(now) {
			return e.taken(), expired, true
		}
		s.finish(e.stored())
		expired++
	}
	return t, expired, false
}
