package session

import (
	"math"
	"slices"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// exchange is a QoS 1 or 2 delivery under way.
type exchange struct {
	entry
	turn    uint64 // see writing
	id      packet.ID
	given   uint32 // flow.given when it began
	state   state
	counted bool // in Link.inflight
	first   bool // was never sent
}

type state uint8

const (
	unsent    state = iota // to be sent on this connection
	writing                // stored QoS 2: not sent before its identifier is on disk
	published              // awaits PUBACK or PUBREC
	void                   // the content is lost: PUBREL is to be sent, for the client may have the message
	released               // awaits PUBCOMP
	done
)

// begin records an exchange.
func (s *Session) begin(e exchange) {
	if s.sentHead > 0 && len(s.sent) == cap(s.sent) {
		n := copy(s.sent, s.begun())
		clear(s.sent[n:])
		s.sent, s.sentHead = s.sent[:n], 0
	}
	e.given, e.counted = s.given, true
	if e.key != 0 && e.qos() == 1 {
		s.mark = max(s.mark, e.key.Seq())
	}
	if e.m != nil {
		s.content += int32(e.size())
	}
	s.sent = append(s.sent, e)
	s.open++
	s.Link.inflight++
}

// begun are the exchanges, and some that are done between them.
func (f *flow) begun() []exchange { return f.sent[f.sentHead:] }

// hold gives an exchange its content, or takes it away.
func (f *flow) hold(e *exchange, m *message.Message) {
	if e.m != nil {
		f.content -= int32(e.size())
	}
	if e.m = m; m != nil {
		f.content += int32(e.size())
	}
}

// window reports whether another PUBLISH above QoS 0 may be sent (MQTT-3.3.4-9).
func (s *Session) window() bool {
	l := s.Link
	return !l.Hold && l.inflight < min(l.ReceiveMaximum, s.cfg.MaxInflight) && s.Inflight() < int(s.cfg.MaxInflight) && s.roomy()
}

// inflightBytes is how much a client that does not acknowledge makes us keep in
// memory, if its session is not stored: what a link of 1 Gbit/s has under way
// in 100 ms.
const inflightBytes = 16 << 20

// roomy reports whether another message may begin whose content stays in memory,
// until it is acknowledged or, if it is stored, until it is sent. One may always.
func (s *Session) roomy() bool {
	if s.flow == nil || s.content == 0 {
		return true
	}
	if s.Number != 0 {
		return int(s.content) < s.cfg.PendingBytes
	}
	return s.content < inflightBytes
}

// nextID returns a packet identifier that no exchange uses (MQTT-2.2.1-4).
func (s *Session) nextID() packet.ID {
	for {
		if s.given++; s.given == 0 {
			s.given = 1
		}
		id := packet.ID((s.given-1)%math.MaxUint16 + 1)
		// Identifiers go up, so that one can only be in use if they have
		// gone all the way round since the oldest exchange began.
		if s.open == 0 || s.given-s.sent[s.sentHead].given < 65_535 || s.find(id) == nil {
			return id
		}
	}
}

// find returns the open exchange with an identifier. It looks first where it is
// as long as each exchange has the next identifier after the one before.
func (s *Session) find(id packet.ID) *exchange {
	if s.flow == nil || len(s.begun()) == 0 {
		return nil
	}
	all := s.begun()
	at := int(id) - int(all[0].id)
	if at < 0 {
		at += math.MaxUint16
	}
	if at < len(all) && all[at].id == id && all[at].state != done {
		return &all[at]
	}
	for i := range all {
		if e := &all[i]; e.id == id && e.state != done {
			return e
		}
	}
	return nil
}

// end closes an exchange.
func (s *Session) end(e *exchange) {
	s.close(e)
	s.tidy()
}

// close marks an exchange as done, and tells the journal.
func (s *Session) close(e *exchange) {
	if e.counted && s.Link != nil {
		s.Link.inflight--
	}
	if e.state < void {
		s.finished(e.stored())
	}
	if e.key != 0 && e.qos() == 2 {
		s.cfg.Journal.Ended(s.Number, e.key)
	}
	s.hold(e, nil)
	e.state, e.counted = done, false
	e.entry = entry{}
	s.open--
}

// tidy forgets exchanges that are done. Those behind an older one that is not
// go when they are the most.
func (s *Session) tidy() {
	for int(s.sentHead) < len(s.sent) && s.sent[s.sentHead].state == done {
		s.sentHead++
	}
	if int(s.sentHead) == len(s.sent) {
		s.sent, s.sentHead = s.sent[:0], 0
		return
	}
	all := s.begun()
	if len(all) <= 2*int(s.open)+fewDone {
		return
	}
	keep := slices.DeleteFunc(all, func(e exchange) bool { return e.state == done })
	s.sent = s.sent[:int(s.sentHead)+len(keep)]
}

// fewDone exchanges may stay that are done, besides as many as are not.
const fewDone = 16

// again sends unsent exchanges as far as the window goes, and until out is
// full, with DUP if the client may have them (MQTT-3.3.1-1).
func (s *Session) again(out []byte, full int, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	for i := int(s.sentHead); i < len(s.sent); i++ {
		e := &s.sent[i]
		if e.state == void {
			out = l.ack(out, packet.PUBREL, e.id, packet.Success)
			e.state = released
			s.unsent--
		}
		if e.state != unsent {
			continue
		}
		if l.Hold || e.missing() || !e.counted && l.inflight >= l.ReceiveMaximum && !s.yield(i+1) {
			return out, d
		}
		if e.first && e.expired(now) { // while its identifier went to disk (MQTT-3.3.2-5)
			d.Expired++
			s.unsent--
			s.close(e)
			continue
		}
		if len(out) >= full {
			l.Hold = true
			return out, d
		}
		var ok bool
		if out, ok = l.send(out, &e.entry, e.id, !e.first, now); ok {
			if !e.counted {
				e.counted = true
				l.inflight++
			}
			e.state, e.first = published, false
			if e.key != 0 {
				s.hold(e, nil)
			}
			s.unsent--
			continue
		}
		if e.group() != nil && !s.mayHave(e) {
			d.Refused = append(d.Refused, s.give(e))
			continue
		}
		d.TooLarge++
		s.unsent--
		s.close(e)
	}
	s.tidy()
	return out, d
}

// yield takes back the place in the window that an exchange from i on has and
// does not use yet: one that began before it goes first, and might else wait
// for ever.
func (s *Session) yield(i int) bool {
	for ; i < len(s.sent); i++ {
		if e := &s.sent[i]; e.counted && e.state < published {
			e.counted = false
			s.Link.inflight--
			return true
		}
	}
	return false
}
