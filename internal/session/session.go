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
//
// Files, from the bottom up: queue.go, link.go, exchange.go, receive.go,
// session.go, stored.go, share.go.
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

// Config holds the limits that many sessions share. All fields must be set; package settings has the defaults and their reasons.
type Config struct {
	Offer          *Offer // to those that connect
	MaxInflight    uint16 // PUBLISH above QoS 0 that we have under way to a client at most
	AliasesOut     uint16 // topic aliases that we use at most for one client
	QueueMessages  int    // waiting messages of one session that is not stored
	QueueBytes     int64  // their size in bytes (message.Message.Size)
	StoredMessages int    // waiting messages of one session that is stored
	StoredBytes    int64  // their size in bytes
	QueuePolicy    Policy
	PendingBytes   int     // of stored messages that are in memory until they may be sent
	Journal        Journal // for sessions that are stored

	plain *terms // of all links to which nothing else applies; nil before the first
}

// Offer is what the broker takes from a client, and tells it in CONNACK. It holds
// for the connection, whatever others are offered meanwhile. Nobody changes one.
type Offer struct {
	ReceiveMaximum    uint16 // PUBLISH above QoS 0 that it may have under way to us
	TopicAliasMaximum uint16 // topic aliases that it may use
	MaximumPacketSize int    // in bytes
	RetainAvailable   bool
}

// MostWaiting is the number of messages that may wait for a session.
func (c *Config) MostWaiting(stored bool) int {
	if stored {
		return c.StoredMessages
	}
	return c.QueueMessages
}

// Session is what the broker keeps of a client, in 32 bytes while nothing is
// under way: most clients only publish, or only listen at QoS 0. The zero
// value is not ready for use; see New.
//
// A session with a number is stored: its messages above QoS 0 are on disk, or on
// their way there, and those that wait take 16 bytes of memory each. Their
// content comes back by Wanted and Supply.
type Session struct {
	Link   *Link  // nil while the client is away
	Number uint64 // in the store; 0: the session is only in memory

	cfg   *Config
	*flow // nil while there is nothing to remember; see need
}

// flow is what is under way between broker and client above QoS 0, and what
// waits.
type flow struct {
	sent     []exchange // in the order of their PUBLISH, from sentHead on
	queue    queue
	via      *via // of the last entry that had one
	received ids  // QoS 2 exchanges from the client that await PUBREL
	sentHead int32
	content  int32  // bytes of messages in sent whose content is in memory
	mark     uint64 // highest number of a stored QoS 1 message that was or may have been sent
	given    uint32 // packet identifiers given out ever, modulo 2^32
	open     uint16 // exchanges in sent that are not done
	unsent   uint16 // of these, those to be sent (unsent, void)
}

// Delivery is a message for one client.
type Delivery struct {
	Message         *Keeper
	QoS             packet.QoS  // the lower of published and granted
	Retain          bool        // as the client is to see it
	SubscriptionIDs []uint32    // of all matching subscriptions; never changed
	Group           any         // the shared subscription it came by, nil if none
	Key             message.Key // in the store; set if the session is stored and QoS above 0
	Sole            bool        // see message.Stored
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

	// Refused are too large as well, and came by shared subscriptions: others
	// may take them.
	Refused []Taken
}

// New returns the session of a client that has none. number is its place in the
// store, 0 for none.
func New(cfg *Config, number uint64) Session { return Session{cfg: cfg, Number: number} }

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
	return s.queue.len()
}

// WaitingBytes is their size.
func (s *Session) WaitingBytes() int64 {
	if s.flow == nil {
		return 0
	}
	return s.queue.bytes
}

// Clear forgets what is under way and what waits: the session, which is not
// stored, has ended.
func (s *Session) Clear() { s.flow = nil }

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
	for i := range s.begun() {
		e := &s.begun()[i]
		e.counted = false
		if e.state == published {
			e.state = unsent
		}
		if e.state == unsent || e.state == void {
			s.unsent++
		}
	}
}

// Detach ends the network connection.
func (s *Session) Detach() {
	s.Link = nil
	if s.flow == nil {
		return
	}
	if s.Waiting()+s.Inflight() == 0 && len(s.received) == 0 {
		s.flow = nil
		return
	}
	for i := range s.begun() {
		if e := &s.begun()[i]; e.key != 0 {
			s.hold(e, nil)
		}
	}
	s.queue.unload()
}

// ProblemInformation reports whether the client takes reason strings and user
// properties on any packet (MQTT-3.1.2-29).
func (s *Session) ProblemInformation() bool {
	return s.Link != nil && !s.Link.terms.quiet
}

// Deliver sends the message, or queues it. Dropped says how many messages in
// the queue had to make room.
func (s *Session) Deliver(out []byte, d Delivery, now time.Duration) (_ []byte, o Outcome, dropped int) {
	m := d.Message.Borrowed
	if m.Expired(now) {
		s.finished(message.Stored{Key: d.Key, Size: m.Size(), Sole: d.Sole})
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
	if l == nil || s.Waiting() > 0 || s.flow != nil && s.unsent > 0 || !s.window() {
		o, dropped = s.enqueue(d, now)
		return out, o, dropped
	}
	return s.sendNow(out, d, now)
}

// kept is a delivery as the session keeps it, without its content.
func (s *Session) kept(d *Delivery) entry {
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
		id = s.nextID()
	}
	if d.QoS == 2 && d.Key != 0 {
		e := s.kept(&d)
		e.m = d.Message.Keep()
		s.write(e, id)
		return out, Sent, 0
	}
	out, ok := s.Link.publish(out, m, d.QoS, d.Retain, d.SubscriptionIDs, id, false, now)
	if !ok {
		s.finished(message.Stored{Key: d.Key, Size: m.Size(), Sole: d.Sole})
		return out, TooLarge, 0
	}
	if d.QoS > 0 {
		e := s.kept(&d)
		if d.Key == 0 {
			e.m = d.Message.Keep()
		}
		s.begin(exchange{entry: e, id: id, state: published})
	}
	return out, Sent, 0
}

func (s *Session) enqueue(d Delivery, now time.Duration) (o Outcome, dropped int) {
	s.need()
	e := s.kept(&d)
	size := int64(e.size())
	most, mostBytes := s.cfg.MostWaiting(s.Number != 0), s.cfg.QueueBytes
	if s.Number != 0 {
		mostBytes = s.cfg.StoredBytes
	}
	if size > mostBytes {
		s.finished(e.stored())
		return Full, 0 // making room would not help
	}
	// A queue that is over a limit, since that was lowered, shrinks with each
	// message: what it has too much could be too much work at once.
	most, mostBytes = max(most, s.Waiting()-1), max(mostBytes, s.queue.bytes-size)
	full := func() bool { return s.Waiting() >= most || s.queue.bytes+size > mostBytes }
	if full() {
		s.queue.sweep(now, func(old entry) {
			s.finished(old.stored())
			dropped++
		})
	}
	for full() {
		if s.cfg.QueuePolicy == RefuseNew || s.Waiting() == 0 {
			s.finished(e.stored())
			return Full, dropped
		}
		old := s.queue.front()
		s.queue.pop()
		s.finished(old.stored())
		dropped++
	}
	// What the client is going to get soon stays in memory.
	if q := &s.queue; e.key == 0 || s.Link != nil && q.whole() && int(q.loadedBytes)+e.size() <= aheadBytes {
		e.m = d.Message.Keep()
	}
	s.queue.push(e)
	return Queued, dropped
}

// Resume appends PUBREL for the messages that the client has received on an earlier
// connection, in the first order (MQTT-4.4.0-1). Pump sends the rest again. As with
// Ack, the answer may have to wait for the disk.
func (s *Session) Resume(out []byte) []byte {
	if s.flow == nil {
		return out
	}
	for i := range s.begun() {
		if e := &s.begun()[i]; e.state == released {
			out = s.Link.ack(out, packet.PUBREL, e.id, packet.Success)
		}
	}
	return out
}

// Pending reports whether Pump may have something to send.
func (s *Session) Pending() bool { return s.flow != nil && (s.unsent > 0 || s.Waiting() > 0) }

// Pump sends what the window allows: after an acknowledgement, and when Hold
// ends. It stops when it has written as many bytes as there is room for, or more
// by a part of a packet, and sets Hold if there would be more.
func (s *Session) Pump(out []byte, room int, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	if l == nil || s.flow == nil {
		return out, d
	}
	full := len(out) + room
	if s.unsent > 0 {
		if out, d = s.again(out, full, now); s.unsent > 0 {
			return out, d
		}
	}
	for s.Waiting() > 0 && s.window() {
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
			s.finished(e.stored())
			d.Expired++
			full -= expiredRoom
			continue
		}
		id := s.nextID()
		if e.key != 0 && e.qos() == 2 {
			s.write(e, id)
			continue
		}
		var ok bool
		if out, ok = l.send(out, &e, id, e.bits&bitSent != 0, now); !ok {
			s.refuse(&e, &d)
			continue
		}
		e.unload()
		s.begin(exchange{entry: e, id: id, state: published})
	}
	return out, d
}

// expiredRoom is how many bytes of room an expired message takes, so that a
// queue of a million does not take long at once: about what it costs in time.
const expiredRoom = 64

// unload forgets the content of a stored message.
func (e *entry) unload() {
	if e.key != 0 {
		e.m = nil
	}
}

// Forget takes back that a QoS 2 message from the client was received.
func (s *Session) Forget(id packet.ID) {
	if s.flow != nil {
		s.received.remove(id)
	}
}
