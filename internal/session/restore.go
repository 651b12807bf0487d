package session

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Restored is what a store knows of a message of a session.
type Restored struct {
	Stored          message.Stored
	Expires         time.Duration // on the engine's clock, 0: never
	QoS             packet.QoS
	Retain          bool
	SubscriptionIDs []uint32
	Group           any
	ID              packet.ID // of a QoS 2 exchange that has begun, 0 for none
	AwaitsPubcomp   bool      // and the client has the message
	Sent            bool      // the client may have it, at QoS 1
}

// Restore gives a session back what it had before a crash: its messages, in
// order.
func (s *Session) Restore(r Restored) {
	s.need()
	e := entry{ref: refOf(r.Stored, r.QoS, r.Retain, r.Expires)}
	if len(r.SubscriptionIDs) > 0 || r.Group != nil {
		e.via = &via{ids: r.SubscriptionIDs, group: r.Group}
	}
	if r.ID == 0 {
		if r.Sent && r.QoS == 1 {
			e.bits |= bitSent
			s.maxSent = max(s.maxSent, r.Stored.Key.Seq())
		}
		s.queue.push(e)
		return
	}
	x := exchange{entry: e, id: r.ID, state: unsent}
	if r.AwaitsPubcomp {
		x.state = awaitPubcomp
	}
	s.inflight.restore(x)
}

// RestoreReceived gives a session back that a QoS 2 message from the client was
// received and awaits PUBREL.
func (s *Session) RestoreReceived(id packet.ID) {
	s.need()
	s.received.add(id)
}

// Sent is the highest number of the stored QoS 1 messages that the client may
// have, of those that it has not acknowledged; 0: there are none.
func (s *Session) MaxSent() uint64 {
	if s.flow == nil {
		return 0
	}
	return s.maxSent
}

// Delete gives up what a stored session still has, at most so many queued
// messages at a time. It reports whether there is more. The session must not be used
// otherwise.
func (s *Session) Delete(maximum int) (more bool) {
	if s.flow == nil {
		return false
	}
	for i := range s.inflight.all() {
		if e := &s.inflight.all()[i]; e.state != done {
			s.end(e)
		}
	}
	s.inflight.compact()
	for _, id := range s.received {
		s.cfg.Journal.Forget(s.Number, id, true)
	}
	s.received = nil
	for ; maximum > 0 && s.Queued() > 0; maximum-- {
		e := s.queue.front()
		s.queue.pop()
		s.finish(e.stored())
	}
	return s.Queued() > 0
}
