// Package session is the state machine of one client: the exchanges of QoS 1
// and QoS 2 in both directions, packet identifiers, flow control, topic
// aliases, the queue of waiting messages, and message expiry.
//
// Packets and time go in, bytes come out: every method that may have something
// to say to the client appends it to the caller's buffer. The package has no
// clock, no sockets, no goroutines and no locks; the shard that owns a session
// is its only caller.
//
// A Session outlives network connections. What belongs to one of them is its
// Link, which is nil while the client is away.
package session

import (
	"slices"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Policy says what becomes of a message that finds a queue full.
type Policy uint8

const (
	RefuseNew  Policy = iota // the new message is dropped
	DropOldest               // waiting messages make room, the oldest first
)

// Config holds the limits that all sessions of a broker share. All fields must
// be set; broker.Config has the defaults and their reasons.
type Config struct {
	ReceiveMaximum    uint16 // PUBLISH above QoS 0 that a client may have under way to us
	MaxInflight       uint16 // PUBLISH above QoS 0 that we have under way to a client at most
	TopicAliasMaximum uint16 // topic aliases that a client may use
	AliasesOut        uint16 // topic aliases that we use at most for one client
	QueueMessages     int    // waiting messages of one session
	QueueBytes        int    // their size in bytes (message.Message.Size)
	QueuePolicy       Policy
}

// Session is what the broker keeps of a client, in 24 bytes while nothing is
// under way: most clients only publish, or only listen at QoS 0. The zero
// value is not ready for use; see New.
type Session struct {
	Link *Link // nil while the client is away

	cfg   *Config
	*flow // nil while there is nothing to remember; see need
}

// flow is what is under way between broker and client above QoS 0, and what
// waits.
type flow struct {
	sent       []exchange // in the order of their PUBLISH, from sentHead on
	queue      []entry    // waiting, from queueHead on
	sentHead   int
	queueHead  int
	queueBytes int
	received   ids    // QoS 2 exchanges from the client that await PUBREL
	given      uint32 // packet identifiers given out ever, modulo 2^32
	lastID     uint16 // the packet identifier given out last
	open       uint16 // exchanges in sent that are not done
	unsent     uint16 // of these, those to be sent again
}

// Delivery is a message for one client.
type Delivery struct {
	Message         *Keeper
	QoS             packet.QoS // the lower of published and granted
	Retain          bool       // as the client is to see it
	SubscriptionIDs []uint32   // of all matching subscriptions; never changed
	Group           any        // the shared subscription it came by, nil if none
}

// Keeper lends a message to many sessions and keeps it for those that need it
// later: once, whatever their number.
type Keeper struct {
	Borrowed *message.Message
	kept     *message.Message
}

// Keep returns the message with memory of its own.
func (k *Keeper) Keep() *message.Message {
	if k.kept == nil {
		k.kept = k.Borrowed.Keep()
	}
	return k.kept
}

// Kept returns a Keeper for a message that has memory of its own already.
func Kept(m *message.Message) *Keeper { return &Keeper{Borrowed: m, kept: m} }

// entry is a kept delivery.
type entry struct {
	m      *message.Message
	subIDs []uint32
	group  any
	qos    packet.QoS
	retain bool
}

// exchange is a QoS 1 or 2 delivery under way.
type exchange struct {
	entry
	id      packet.ID
	given   uint32 // flow.given when it began
	state   state
	counted bool // in Link.inflight
}

type state uint8

const (
	unsent    state = iota // to be sent again on this connection
	published              // awaits PUBACK or PUBREC
	released               // awaits PUBCOMP
	done
)

// Outcome says what became of a delivery.
type Outcome uint8

const (
	Sent     Outcome = iota
	Queued           // waits for the client or its window
	Away             // dropped: QoS 0, and the client is away
	Expired          // dropped: the message has ended
	TooLarge         // dropped: over the client's Maximum Packet Size (MQTT-3.1.2-25)
	Full             // dropped: the queue is full
)

// Dropped reports whether the message is lost for this client.
func (o Outcome) Dropped() bool { return o >= Away }

// Drops counts waiting messages that were dropped when their turn came.
type Drops struct {
	Expired  int // the message had ended
	TooLarge int // over the client's Maximum Packet Size (MQTT-3.1.2-25)
}

// New returns the session of a client that has none.
func New(cfg *Config) Session { return Session{cfg: cfg} }

// need makes sure that there is a flow to write to.
func (s *Session) need() {
	if s.flow == nil {
		s.flow = &flow{}
	}
}

// Waiting is the number of queued messages.
func (s *Session) Waiting() int {
	if s.flow == nil {
		return 0
	}
	return len(s.queue) - s.queueHead
}

// Inflight is the number of deliveries that have begun and not ended.
func (s *Session) Inflight() int {
	if s.flow == nil {
		return 0
	}
	return int(s.open)
}

// Attach begins a network connection; Resume follows once CONNACK is written.
func (s *Session) Attach(l *Link) {
	s.Link = l
	if s.flow == nil {
		return
	}
	s.unsent = 0
	for i := s.sentHead; i < len(s.sent); i++ {
		e := &s.sent[i]
		e.counted = false
		if e.state == published {
			e.state = unsent
		}
		if e.state == unsent {
			s.unsent++
		}
	}
}

// Detach ends the network connection.
func (s *Session) Detach() {
	s.Link = nil
	if s.Waiting()+s.Inflight() == 0 && s.flow != nil && len(s.received) == 0 {
		s.flow = nil
	}
}

// ProblemInformation reports whether the client takes reason strings and user
// properties on any packet (MQTT-3.1.2-29).
func (s *Session) ProblemInformation() bool {
	return s.Link != nil && (s.Link.wishes == nil || !s.Link.wishes.quiet)
}

// Deliver sends the message, or queues it. Dropped says how many messages in
// the queue had to make room.
func (s *Session) Deliver(out []byte, d Delivery, now time.Duration) (_ []byte, o Outcome, dropped int) {
	m := d.Message.Borrowed
	if m.Expired(now) {
		return out, Expired, 0
	}
	l := s.Link
	if d.QoS == 0 {
		if l == nil {
			return out, Away, 0
		}
		return s.sendNow(out, d, now)
	}
	if l == nil || s.Waiting() > 0 || !s.window() {
		return s.enqueue(out, d, now)
	}
	return s.sendNow(out, d, now)
}

func (s *Session) sendNow(out []byte, d Delivery, now time.Duration) ([]byte, Outcome, int) {
	e := entry{m: d.Message.Borrowed, subIDs: d.SubscriptionIDs, qos: d.QoS, retain: d.Retain, group: d.Group}
	var id packet.ID
	if d.QoS > 0 {
		s.need()
		id = s.nextID()
	}
	out, ok := s.Link.publish(out, &e, id, false, now)
	if !ok {
		return out, TooLarge, 0
	}
	if d.QoS > 0 {
		e.m = d.Message.Keep()
		s.begin(e, id)
	}
	return out, Sent, 0
}

// begin records an exchange whose PUBLISH was sent.
func (s *Session) begin(e entry, id packet.ID) {
	if s.sentHead > 0 && len(s.sent) == cap(s.sent) {
		s.sent = compact(s.sent, &s.sentHead)
	}
	s.sent = append(s.sent, exchange{entry: e, id: id, given: s.given, state: published, counted: true})
	s.open++
	s.Link.inflight++
}

// compact moves the part of list from head on to the front.
func compact[T any](list []T, head *int) []T {
	n := copy(list, list[*head:])
	clear(list[n:])
	*head = 0
	return list[:n]
}

// window reports whether another PUBLISH above QoS 0 may be sent (MQTT-3.3.4-9).
func (s *Session) window() bool {
	l := s.Link
	return !l.Hold && l.inflight < min(l.ReceiveMaximum, s.cfg.MaxInflight) && s.Inflight() < int(s.cfg.MaxInflight)
}

func (s *Session) enqueue(out []byte, d Delivery, now time.Duration) (_ []byte, o Outcome, dropped int) {
	s.need()
	size := d.Message.Borrowed.Size()
	if size > s.cfg.QueueBytes {
		return out, Full, 0 // making room would not help
	}
	full := func() bool { return s.Waiting() >= s.cfg.QueueMessages || s.queueBytes+size > s.cfg.QueueBytes }
	if full() {
		dropped = s.expire(now)
	}
	for full() {
		if s.cfg.QueuePolicy == RefuseNew || s.Waiting() == 0 {
			return out, Full, dropped
		}
		s.shift()
		dropped++
	}
	if s.queueHead > 0 && len(s.queue) == cap(s.queue) {
		s.queue = compact(s.queue, &s.queueHead)
	}
	s.queue = append(s.queue, entry{m: d.Message.Keep(), subIDs: d.SubscriptionIDs, qos: d.QoS, retain: d.Retain, group: d.Group})
	s.queueBytes += size
	return out, Queued, dropped
}

// shift takes the oldest message from the queue.
func (s *Session) shift() entry {
	e := s.queue[s.queueHead]
	s.queue[s.queueHead] = entry{}
	s.queueHead++
	s.queueBytes -= e.m.Size()
	if s.queueHead == len(s.queue) {
		s.queueHead = 0
		if cap(s.queue) > 64 {
			s.queue = nil // a long queue is rare; don't hold its memory
		} else {
			s.queue = s.queue[:0]
		}
	}
	return e
}

// nextID returns a packet identifier that no exchange uses (MQTT-2.2.1-4).
func (s *Session) nextID() packet.ID {
	for {
		s.lastID++
		if s.lastID == 0 {
			s.lastID = 1
		}
		s.given++
		id := packet.ID(s.lastID)
		// Identifiers go up, so that one can only be in use if they have
		// gone all the way round since the oldest exchange began.
		if s.open == 0 || s.given-s.sent[s.sentHead].given < 65_535 || s.find(id) == nil {
			return id
		}
	}
}

// find returns the open exchange with an identifier. Acknowledgements come
// mostly in order, so that it is the first or near it.
func (s *Session) find(id packet.ID) *exchange {
	if s.flow == nil {
		return nil
	}
	for i := s.sentHead; i < len(s.sent); i++ {
		if e := &s.sent[i]; e.id == id && e.state != done {
			return e
		}
	}
	return nil
}

// end closes an exchange.
func (s *Session) end(e *exchange) {
	if e.counted {
		s.Link.inflight--
	}
	e.state, e.counted = done, false
	e.entry = entry{}
	s.open--
	s.tidy()
}

// tidy forgets exchanges that are done. Those behind an older one that is not
// go when they are the most.
func (s *Session) tidy() {
	for s.sentHead < len(s.sent) && s.sent[s.sentHead].state == done {
		s.sentHead++
	}
	if s.sentHead == len(s.sent) {
		s.sent, s.sentHead = s.sent[:0], 0
		return
	}
	if len(s.sent)-s.sentHead <= 2*int(s.open)+fewDone {
		return
	}
	all := s.sent[s.sentHead:]
	keep := slices.DeleteFunc(all, func(e exchange) bool { return e.state == done })
	s.sent = s.sent[:s.sentHead+len(keep)]
}

// fewDone exchanges may stay that are done, besides as many as are not.
const fewDone = 16

// Resume sends again what the client has not acknowledged on an earlier
// connection (MQTT-4.4.0-1), in the first order, and then what waits.
func (s *Session) Resume(out []byte, now time.Duration) (_ []byte, d Drops) {
	if s.flow == nil {
		return out, d
	}
	for i := s.sentHead; i < len(s.sent); i++ {
		if e := &s.sent[i]; e.state == released {
			out = s.Link.ack(out, packet.PUBREL, e.id, packet.Success)
		}
	}
	return s.Pump(out, now)
}

// Pump sends what the window allows: after an acknowledgement, and when Hold
// ends.
func (s *Session) Pump(out []byte, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	if l == nil || s.flow == nil {
		return out, d
	}
	if s.unsent > 0 {
		if out, d = s.again(out, now); s.unsent > 0 {
			return out, d
		}
	}
	for s.Waiting() > 0 && !l.Hold {
		if !s.window() {
			break
		}
		e := s.shift()
		if e.m.Expired(now) {
			d.Expired++
			continue
		}
		id := s.nextID()
		var ok bool
		if out, ok = l.publish(out, &e, id, false, now); !ok {
			d.TooLarge++
			continue
		}
		s.begin(e, id)
	}
	return out, d
}

// again sends unsent exchanges as far as the window goes, with DUP
// (MQTT-3.3.1-1).
func (s *Session) again(out []byte, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	for i := s.sentHead; i < len(s.sent); i++ {
		e := &s.sent[i]
		if e.state != unsent {
			continue
		}
		if l.Hold || l.inflight >= l.ReceiveMaximum {
			return out, d
		}
		var ok bool
		if out, ok = l.publish(out, &e.entry, e.id, true, now); ok {
			e.state, e.counted = published, true
			l.inflight++
			s.unsent--
			continue
		}
		d.TooLarge++
		e.state = done
		e.entry = entry{}
		s.open--
		s.unsent--
	}
	s.tidy()
	return out, d
}

// expire drops queued messages that have ended and returns their number.
func (s *Session) expire(now time.Duration) (dropped int) {
	keep := s.queue[:s.queueHead]
	for _, e := range s.queue[s.queueHead:] {
		if e.m.Expired(now) {
			s.queueBytes -= e.m.Size()
			dropped++
			continue
		}
		keep = append(keep, e)
	}
	clear(s.queue[len(keep):])
	s.queue = keep
	return dropped
}

// TakeShared removes the messages of a shared subscription that were not sent
// yet, in order, and hands them to yield: the client leaves the group, and
// others shall have them (MQTT 5.0 section 4.8.2).
func (s *Session) TakeShared(group any, yield func(m *message.Message, qos packet.QoS)) {
	if s.flow == nil {
		return
	}
	// yield may deliver to this session again, so that the queue must be right
	// before.
	var taken []entry
	s.queue = slices.DeleteFunc(s.queue, func(e entry) bool {
		if e.group == nil || group != nil && e.group != group {
			return false
		}
		s.queueBytes -= e.m.Size()
		taken = append(taken, e)
		return true
	})
	for _, e := range taken {
		yield(e.m, e.qos)
	}
}
