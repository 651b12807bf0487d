package session

import (
	"slices"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Delivery is a message for one client.
type Delivery struct {
	Message         *Cloner
	QoS             packet.QoS  // the lower of published and granted
	Retain          bool        // as the client is to see it
	SubscriptionIDs []uint32    // of all matching subscriptions; never changed
	Group           any         // the shared subscription it came by, nil if none
	Key             message.Key // in the store; set if the session is stored and QoS above 0
	Sole            bool        // see message.Stored
	HeadOnly        bool        // a PUBLISH that is sent is appended without its payload: the caller adds that
}

// Outcome says what became of a delivery.
type Outcome uint8

const (
	Sent     Outcome = iota
	Queued           // behind what is in flight, or until the client connects
	Away             // dropped: QoS 0, and the client is not connected
	Expired          // dropped: the message has expired (MQTT-3.3.2-5)
	TooLarge         // dropped: over the client's Maximum Packet Size (MQTT-3.1.2-25)
	Full             // dropped: the queue is full
)

// Dropped reports whether the message is lost for this client.
func (o Outcome) Dropped() bool { return o >= Away }

// Drops counts queued messages that were dropped when their turn came.
type Drops struct {
	Expired  int // MQTT-3.3.2-5
	TooLarge int // over the client's Maximum Packet Size (MQTT-3.1.2-25)

	// Refused are too large as well, and came by shared subscriptions: others
	// may take them.
	Refused []Taken
}

// Deliver sends the message, or queues it. Dropped says how many messages in
// the queue had to make room. Messages reach the client in the order of Deliver
// (MQTT-4.6.0-5, -6).
func (s *Session) Deliver(out []byte, d Delivery, now time.Duration) (_ []byte, o Outcome, dropped int) {
	m := d.Message.Borrowed
	if m.Expired(now) {
		s.finish(message.Stored{Key: d.Key, Size: m.Size(), Sole: d.Sole})
		return out, Expired, 0
	}
	l := s.Link
	if d.QoS == 0 {
		if l == nil {
			return out, Away, 0
		}
		return s.sendNow(out, d, now)
	}
	// What is to be sent again may have to be read first; it stays before what
	// was published after it (MQTT-4.6.0-6).
	if l == nil || s.Queued() > 0 || s.flow != nil && s.inflight.unsent > 0 || !s.window() {
		o, dropped = s.enqueue(d, now)
		return out, o, dropped
	}
	return s.sendNow(out, d, now)
}

// window reports whether another PUBLISH above QoS 0 may be sent: Receive
// Maximum of the client (MQTT-3.3.4-9, MQTT-4.9.0-2), and our own limits.
func (s *Session) window() bool {
	l := s.Link
	return !l.Hold && l.inflight < min(l.ReceiveMaximum, s.cfg.MaxInflight) && s.Inflight() < int(s.cfg.MaxInflight) && s.roomy()
}

// inflightBytes is how much memory a client that does not acknowledge may take,
// if its session is not stored: what a link of 1 Gbit/s has in flight
// in 100 ms.
const inflightBytes = 16 << 20

// roomy reports whether another message may begin whose content stays in memory,
// until it is acknowledged or, if it is stored, until it is sent. One may always.
func (s *Session) roomy() bool {
	if s.flow == nil || s.inflight.content == 0 {
		return true
	}
	if s.Number != 0 {
		return int(s.inflight.content) < s.cfg.PendingBytes
	}
	return s.inflight.content < inflightBytes
}

// entryOf is a delivery as the session holds it, without its content.
func (s *Session) entryOf(d *Delivery) entry {
	m := d.Message.Borrowed
	e := entry{ref: refOf(message.Stored{Key: d.Key, Size: m.Size(), Sole: d.Sole}, d.QoS, d.Retain, m.Expires)}
	if len(d.SubscriptionIDs) > 0 || d.Group != nil {
		s.need()
		if v := s.flow.via; v == nil || v.group != d.Group || !slices.Equal(v.ids, d.SubscriptionIDs) {
			s.flow.via = &via{ids: d.SubscriptionIDs, group: d.Group}
		}
		e.via = s.flow.via
	}
	return e
}

func (s *Session) sendNow(out []byte, d Delivery, now time.Duration) ([]byte, Outcome, int) {
	m := d.Message.Borrowed
	var id packet.ID
	if d.QoS > 0 {
		s.need()
		id = s.inflight.nextID()
	}
	if d.QoS == 2 && d.Key != 0 {
		e := exchange{entry: s.entryOf(&d), id: id}
		e.keep(d.Message)
		s.commit(&e)
		return out, Sent, 0
	}
	p := packet.Publish{QoS: d.QoS, Retain: d.Retain, ID: id}
	p.Properties.SubscriptionIDs = d.SubscriptionIDs // MQTT-3.3.4-3, -4
	l := s.Link
	if !l.address(&p, m, now) {
		s.finish(message.Stored{Key: d.Key, Size: m.Size(), Sole: d.Sole})
		return out, TooLarge, 0
	}
	if d.HeadOnly {
		out, _ = p.AppendHead(out, l.Version)
	} else {
		out = p.Append(out, l.Version)
	}
	if d.QoS > 0 {
		e := exchange{entry: s.entryOf(&d), id: id, state: awaitAck}
		if d.Key == 0 {
			e.keep(d.Message)
		}
		s.begin(&e)
	}
	return out, Sent, 0
}

// begin records an exchange.
func (s *Session) begin(e *exchange) {
	if e.key != 0 && e.qos() == 1 {
		s.maxSent = max(s.maxSent, e.key.Seq())
	}
	e.counted = true
	s.Link.inflight++
	s.inflight.begin(e)
}

// commit begins the exchange of a stored QoS 2 message: if its identifier were
// not on disk before the client sees it, a crash would make the client take
// the message for another one (MQTT-4.3.3-10).
func (s *Session) commit(e *exchange) {
	e.turn = s.cfg.Journal.Begin(s.Number, e.key, e.id)
	e.state, e.neverSent = committing, true
	s.begin(e)
}

// Committed takes note that what the journal wrote up to a turn is on disk. Pump
// sends what waited for that.
func (s *Session) Committed(turn uint64) {
	if s.flow == nil {
		return
	}
	for i := range s.inflight.all() {
		if e := &s.inflight.all()[i]; e.state == committing && e.turn <= turn {
			s.inflight.setState(e, unsent)
		}
	}
}

func (s *Session) enqueue(d Delivery, now time.Duration) (o Outcome, dropped int) {
	s.need()
	e := s.entryOf(&d)
	size := int64(e.size())
	maximum, maxBytes := s.cfg.MaxQueued(s.Number != 0), s.cfg.QueueBytes
	if s.Number != 0 {
		maxBytes = s.cfg.StoredBytes
	}
	if size > maxBytes {
		s.finish(e.stored())
		return Full, 0 // making room would not help
	}
	// A queue that is over a limit, since that was lowered, shrinks with each
	// message: what it has too much could be too much work at once.
	maximum, maxBytes = max(maximum, s.Queued()-1), max(maxBytes, s.queue.bytes-size)
	full := func() bool { return s.Queued() >= maximum || s.queue.bytes+size > maxBytes }
	if full() {
		s.queue.sweep(now, func(old entry) {
			s.finish(old.stored())
			dropped++
		})
	}
	for full() {
		if s.cfg.QueuePolicy == RefuseNew || s.Queued() == 0 {
			s.finish(e.stored())
			return Full, dropped
		}
		old := s.queue.front()
		s.queue.pop()
		s.finish(old.stored())
		dropped++
	}
	// What the client is going to get soon stays in memory.
	if q := &s.queue; e.key == 0 || s.Link != nil && q.whole() && int(q.loadedBytes)+e.size() <= aheadBytes {
		e.m = d.Message.Clone()
	}
	s.queue.push(e)
	return Queued, dropped
}

// Resume appends PUBREL for the messages that the client has received on an earlier
// connection, in the first order (MQTT-4.4.0-1, MQTT-4.6.0-4). Pump sends the rest
// again. As with Ack, the answer may have to wait for the disk.
func (s *Session) Resume(out []byte) []byte {
	if s.flow == nil {
		return out
	}
	for i := range s.inflight.all() {
		if e := &s.inflight.all()[i]; e.state == awaitPubcomp {
			out = s.Link.ack(out, packet.PUBREL, e.id, packet.Success)
		}
	}
	return out
}

// Pending reports whether Pump may have something to send.
func (s *Session) Pending() bool {
	return s.flow != nil && (s.inflight.unsent > 0 || s.Queued() > 0)
}

// Pump sends what the window allows: after an acknowledgement, and when Hold
// ends. It stops when it has written as many bytes as there is room for, or more
// by a part of a packet, and sets Hold if there would be more.
func (s *Session) Pump(out []byte, room int, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	if l == nil || s.flow == nil {
		return out, d
	}
	full := len(out) + room
	if s.inflight.unsent > 0 {
		if out, d = s.resend(out, full, now); s.inflight.unsent > 0 {
			return out, d
		}
	}
	for s.Queued() > 0 && s.window() {
		e := s.queue.front()
		if e.missing() && !e.expired(now) {
			break
		}
		if len(out) >= full {
			l.Hold = true
			break
		}
		s.queue.pop()
		if e.expired(now) {
			s.finish(e.stored())
			d.Expired++
			full -= expiredRoom
			continue
		}
		id := s.inflight.nextID()
		if e.key != 0 && e.qos() == 2 {
			s.commit(&exchange{entry: e, id: id})
			continue
		}
		p := e.publish(id, e.bits&bitSent != 0)
		var ok bool
		if out, ok = l.publish(out, &p, e.m, now); !ok {
			s.refuse(&e, &d)
			continue
		}
		if e.key != 0 {
			e.m = nil // it can be read again
		}
		s.begin(&exchange{entry: e, id: id, state: awaitAck})
	}
	return out, d
}

// expiredRoom is how many bytes of room an expired message takes, so that a
// queue of a million does not take long at once: about what it costs in time.
const expiredRoom = 64

// resend sends unsent exchanges as far as the window goes, and until out is
// full, with DUP if the client may have them (MQTT-3.3.1-1, MQTT-4.4.0-1).
func (s *Session) resend(out []byte, full int, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	for i := range s.inflight.all() {
		e := &s.inflight.all()[i]
		if e.state == contentLost {
			out = l.ack(out, packet.PUBREL, e.id, packet.Success)
			s.inflight.setState(e, awaitPubcomp)
		}
		if e.state != unsent {
			continue
		}
		if l.Hold || e.missing() || !e.counted && l.inflight >= l.ReceiveMaximum && !s.yieldWindow(i+1) {
			return out, d
		}
		if e.neverSent && e.expired(now) { // while its identifier went to disk (MQTT-3.3.2-5)
			d.Expired++
			s.end(e)
			continue
		}
		if len(out) >= full {
			l.Hold = true
			return out, d
		}
		p := e.publish(e.id, !e.neverSent)
		var ok bool
		if out, ok = l.publish(out, &p, e.m, now); ok {
			if !e.counted {
				e.counted = true
				l.inflight++
			}
			s.inflight.setState(e, awaitAck)
			e.neverSent = false
			if e.key != 0 {
				s.inflight.setContent(e, nil)
			}
			continue
		}
		if e.group() != nil && !e.mayHave() {
			d.Refused = append(d.Refused, s.give(e))
			continue
		}
		d.TooLarge++
		s.end(e)
	}
	s.inflight.compact()
	return out, d
}

// yieldWindow takes back the place in the window that an exchange from i on has and
// does not use yet: one that began before it goes first, and might else wait
// for ever.
func (s *Session) yieldWindow(i int) bool {
	later := s.inflight.all()[i:]
	for i := range later {
		if e := &later[i]; e.counted && e.state < awaitAck {
			e.counted = false
			s.Link.inflight--
			return true
		}
	}
	return false
}
