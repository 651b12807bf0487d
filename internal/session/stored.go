package session

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Journal writes down what a stored session must not forget. Methods of the
// session call it before they return.
type Journal interface {
	// Finished tells that a session has no more use for a message: the client
	// has it, or it was dropped.
	Finished(session uint64, m message.Stored)

	// Began tells that a QoS 2 message is going to be sent under an
	// identifier, and returns when that will be on disk: Written names it.
	Began(session uint64, k message.Key, id packet.ID) (turn uint64)

	// Released tells that PUBREC has come: the identifier may be told PUBREL.
	Released(session uint64, k message.Key, id packet.ID)

	// Ended tells that such an exchange is over.
	Ended(session uint64, k message.Key)

	// Forgotten tells that a QoS 2 message from the client counts as received
	// no more, or that the session is over, which may be before the journal has
	// all that the message changed.
	Forgotten(session uint64, id packet.ID, over bool)
}

// finished tells the journal.
func (s *Session) finished(m message.Stored) {
	if m.Key != 0 {
		s.cfg.Journal.Finished(s.Number, m)
	}
}

// write begins the exchange of a stored QoS 2 message: if its identifier were
// not on disk before the client sees it, a crash would make the client take
// the message for another one.
func (s *Session) write(e entry, id packet.ID) {
	turn := s.cfg.Journal.Began(s.Number, e.key, id)
	s.begin(exchange{entry: e, id: id, state: writing, turn: turn, first: true})
}

// Written tells that what the journal was told up to a turn is on disk. Pump
// sends what waited for that.
func (s *Session) Written(turn uint64) {
	if s.flow == nil {
		return
	}
	for i := range s.begun() {
		if e := &s.begun()[i]; e.state == writing && e.turn <= turn {
			e.state = unsent
			s.unsent++
		}
	}
}

// Lost gives up a stored message whose content can't be read. If the client may
// have it, at QoS 2, it must hear PUBREL before it sees the identifier again. It reports false if
// the message is not waited for, because it has ended or gone to another session.
func (s *Session) Lost(k message.Key) (waited bool) {
	if s.flow == nil {
		return false
	}
	for i := range s.begun() {
		e := &s.begun()[i]
		if e.key != k || e.state != unsent {
			continue
		}
		if e.qos() == 2 && !e.first {
			s.cfg.Journal.Released(s.Number, k, e.id)
			s.finished(e.stored())
			s.hold(e, nil)
			e.state = void
			return true
		}
		s.unsent--
		s.close(e)
		s.tidy()
		return true
	}
	e, waited := s.queue.lose(k)
	if waited {
		s.finished(e.stored())
	}
	return waited
}

// The content of stored messages is read ahead for this many messages or, if
// that is less, about as many bytes.
const (
	ahead      = 128
	aheadBytes = 64 << 10
)

// Wanted appends the messages whose content is needed next, if it is time to
// read more of them.
func (s *Session) Wanted(all []message.Stored) []message.Stored {
	if s.flow == nil || s.Link == nil {
		return all
	}
	start, size := len(all), int(s.content)
	want := func(e *entry) (more bool) {
		if e.missing() {
			all = append(all, e.stored())
			size += e.size()
		}
		return len(all)-start < ahead && size < aheadBytes
	}
	// What is to be sent again counts as long as it is in memory: a client that
	// reads nothing must not make us read it all.
	if s.unsent > 0 {
		for i := range s.begun() {
			e := &s.begun()[i]
			if e.state != unsent {
				continue
			}
			if e.m != nil && size >= aheadBytes || !want(&e.entry) {
				return all
			}
		}
	}
	q := &s.queue
	if q.whole() {
		return all
	}
	if front := q.front(); front.missing() || q.loaded < ahead/2 && q.loadedBytes < aheadBytes/2 {
		seen := 0
		for e := range q.all {
			if seen++; seen > ahead || !want(&e) {
				break
			}
		}
	}
	return all
}

// Supply gives a message its content, which the session keeps until it is
// sent. Messages that it does not wait for any more are passed over.
func (s *Session) Supply(k message.Key, m *message.Message) {
	if s.flow == nil {
		return
	}
	if s.unsent > 0 {
		for i := range s.begun() {
			if e := &s.begun()[i]; e.key == k && e.state == unsent {
				s.hold(e, m)
				return
			}
		}
	}
	s.queue.supply(k, m)
}

// Restored is what a store knows of a message of a session.
type Restored struct {
	Stored          message.Stored
	Expires         time.Duration // on the engine's clock, 0: never
	QoS             packet.QoS
	Retain          bool
	SubscriptionIDs []uint32
	Group           any
	ID              packet.ID // of a QoS 2 exchange that has begun, 0 for none
	Released        bool      // and the client has the message
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
			s.mark = max(s.mark, r.Stored.Key.Seq())
		}
		s.queue.push(e)
		return
	}
	x := exchange{entry: e, id: r.ID, state: unsent}
	if r.Released {
		x.state = released
	}
	s.given = max(s.given, uint32(r.ID))
	x.given = s.given - 65_535 // its identifier may come round at any time
	s.sent = append(s.sent, x)
	s.open++
}

// Sent is the highest number of the stored QoS 1 messages that the client may
// have, of those that it has not acknowledged; 0: there are none.
func (s *Session) Sent() uint64 {
	if s.flow == nil {
		return 0
	}
	return s.mark
}

// RestoreReceived gives a session back that a QoS 2 message from the client was
// received and not released.
func (s *Session) RestoreReceived(id packet.ID) {
	s.need()
	s.received.add(id)
}

// Bury gives up what a stored session still has, some messages at a time, and
// tells the journal. It reports whether there is more. The session must not be
// used otherwise.
func (s *Session) Bury(most int) (more bool) {
	if s.flow == nil {
		return false
	}
	for i := range s.begun() {
		if e := &s.begun()[i]; e.state != done {
			s.close(e)
		}
	}
	s.sent, s.sentHead = nil, 0
	for _, id := range s.received {
		s.cfg.Journal.Forgotten(s.Number, id, true)
	}
	s.received = nil
	for ; most > 0 && s.Waiting() > 0; most-- {
		e := s.queue.front()
		s.queue.pop()
		s.finished(e.stored())
	}
	return s.Waiting() > 0
}
