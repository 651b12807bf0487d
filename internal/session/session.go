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
	QueueMessages     int    // waiting messages of one session that is not stored
	QueueBytes        int    // their size in bytes (message.Message.Size)
	StoredMessages    int    // waiting messages of one session that is stored
	StoredBytes       int64  // their size in bytes
	QueuePolicy       Policy
	Journal           Journal // for sessions that are stored
}

// MostWaiting is the number of messages that may wait for a session.
func (c *Config) MostWaiting(stored bool) int {
	if stored {
		return c.StoredMessages
	}
	return c.QueueMessages
}

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
	// no more.
	Forgotten(session uint64, id packet.ID)
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
	sentHead int
	received ids    // QoS 2 exchanges from the client that await PUBREL
	given    uint32 // packet identifiers given out ever, modulo 2^32
	lastID   uint16 // the packet identifier given out last
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
	s.queue.unload()
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
	for i := s.sentHead; i < len(s.sent); i++ {
		if e := &s.sent[i]; e.state == writing && e.turn <= turn {
			e.state = unsent
			s.unsent++
		}
	}
}

// begin records an exchange.
func (s *Session) begin(e exchange) {
	if s.sentHead > 0 && len(s.sent) == cap(s.sent) {
		s.sent = compact(s.sent, &s.sentHead)
	}
	e.given, e.counted = s.given, true
	s.sent = append(s.sent, e)
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

func (s *Session) enqueue(d Delivery, now time.Duration) (o Outcome, dropped int) {
	s.need()
	e := s.kept(&d)
	size := int64(e.size())
	most, mostBytes := s.cfg.MostWaiting(s.Number != 0), int64(s.cfg.QueueBytes)
	if s.Number != 0 {
		mostBytes = s.cfg.StoredBytes
	}
	if size > mostBytes {
		s.finished(e.stored())
		return Full, 0 // making room would not help
	}
	full := func() bool { return s.Waiting() >= most || s.queue.bytes+size > mostBytes }
	if full() {
		dropped = s.expire(now)
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
	if e.key == 0 || s.Link != nil && s.queue.ready == s.Waiting() && s.queue.readyBytes+e.size() <= aheadBytes {
		e.m = d.Message.Keep()
	}
	s.queue.push(e)
	return Queued, dropped
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
	e.state, e.counted = done, false
	e.entry = entry{}
	s.open--
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
	for s.Waiting() > 0 && s.window() {
		e := s.queue.front()
		if e.expired(now) {
			s.queue.pop()
			s.finished(e.stored())
			d.Expired++
			continue
		}
		if e.missing() {
			break
		}
		s.queue.pop()
		id := s.nextID()
		if e.key != 0 && e.qos() == 2 {
			s.write(e, id)
			continue
		}
		var ok bool
		if out, ok = l.send(out, &e, id, false, now); !ok {
			s.finished(e.stored())
			d.TooLarge++
			continue
		}
		e.unload()
		s.begin(exchange{entry: e, id: id, state: published})
	}
	return out, d
}

// unload forgets the content of a stored message.
func (e *entry) unload() {
	if e.key != 0 {
		e.m = nil
	}
}

// again sends unsent exchanges as far as the window goes, with DUP if the client
// may have them (MQTT-3.3.1-1).
func (s *Session) again(out []byte, now time.Duration) (_ []byte, d Drops) {
	l := s.Link
	for i := s.sentHead; i < len(s.sent); i++ {
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
		var ok bool
		if out, ok = l.send(out, &e.entry, e.id, !e.first, now); ok {
			if !e.counted {
				e.counted = true
				l.inflight++
			}
			e.state, e.first = published, false
			e.unload()
			s.unsent--
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

// Lost gives up a stored message whose content can't be read. If the client may
// have it, at QoS 2, it must hear PUBREL before it sees the identifier again. It reports false if
// the message is not waited for, because it has ended or gone to another session.
func (s *Session) Lost(k message.Key) (waited bool) {
	if s.flow == nil {
		return false
	}
	for i := s.sentHead; i < len(s.sent); i++ {
		e := &s.sent[i]
		if e.key != k || e.state != unsent {
			continue
		}
		if e.qos() == 2 && !e.first {
			s.cfg.Journal.Released(s.Number, k, e.id)
			s.finished(e.stored())
			e.state = void
			return true
		}
		s.unsent--
		s.close(e)
		s.tidy()
		return true
	}
	s.queue.remove(func(e *entry) bool {
		if e.key != k {
			return false
		}
		s.finished(e.stored())
		waited = true
		return true
	})
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
	start, size := len(all), 0
	want := func(e *entry) (more bool) {
		if e.missing() {
			all = append(all, e.stored())
			size += e.size()
		}
		return len(all)-start < ahead && size < aheadBytes
	}
	if s.unsent > 0 {
		for i := s.sentHead; i < len(s.sent); i++ {
			if e := &s.sent[i]; e.state == unsent && !want(&e.entry) {
				return all
			}
		}
	}
	if s.queue.ready < ahead/2 && s.queue.readyBytes < aheadBytes/2 {
		seen := 0
		for e := range s.queue.all {
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
		for i := s.sentHead; i < len(s.sent); i++ {
			if e := &s.sent[i]; e.key == k && e.state == unsent {
				e.m = m
				return
			}
		}
	}
	s.queue.supply(k, m)
}

// expire drops queued messages that have ended and returns their number.
func (s *Session) expire(now time.Duration) (dropped int) {
	s.queue.remove(func(e *entry) bool {
		if !e.expired(now) {
			return false
		}
		s.finished(e.stored())
		dropped++
		return true
	})
	return dropped
}

// Taken is a message that a session gives away.
type Taken struct {
	Message *message.Message // nil if its content must be read
	Stored  message.Stored
	QoS     packet.QoS
}

// TakeShared removes the messages of a shared subscription that were not sent
// yet, in order, and hands them to yield: the client leaves the group, and
// others shall have them (MQTT 5.0 section 4.8.2). The journal is not told; that
// is up to whoever takes them.
func (s *Session) TakeShared(group any, yield func(Taken)) {
	if s.flow == nil {
		return
	}
	// yield may deliver to this session again, so that the queue must be right
	// before.
	var taken []entry
	s.queue.remove(func(e *entry) bool {
		if e.via == nil || e.via.group == nil || group != nil && e.via.group != group {
			return false
		}
		taken = append(taken, *e)
		return true
	})
	for _, e := range taken {
		yield(Taken{Message: e.m, Stored: e.stored(), QoS: e.qos()})
	}
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
		s.queue.push(e)
		return
	}
	x := exchange{entry: e, id: r.ID, state: unsent}
	if r.Released {
		x.state = released
	}
	x.given = s.given - 65_535 // its identifier may come round at any time
	s.lastID = max(s.lastID, uint16(r.ID))
	s.sent = append(s.sent, x)
	s.open++
}

// RestoreReceived gives a session back that a QoS 2 message from the client was
// received and not released.
func (s *Session) RestoreReceived(id packet.ID) {
	s.need()
	s.received.add(id)
}

// Forget takes back that a QoS 2 message from the client was received.
func (s *Session) Forget(id packet.ID) {
	if s.flow != nil {
		s.received.remove(id)
	}
}

// Bury gives up what a stored session still has, some messages at a time, and
// tells the journal. It reports whether there is more. The session must not be
// used otherwise.
func (s *Session) Bury(most int) (more bool) {
	if s.flow == nil {
		return false
	}
	for i := s.sentHead; i < len(s.sent); i++ {
		if e := &s.sent[i]; e.state != done {
			s.close(e)
		}
	}
	s.sent, s.sentHead = nil, 0
	for _, id := range s.received {
		s.cfg.Journal.Forgotten(s.Number, id)
	}
	s.received = nil
	for ; most > 0 && s.Waiting() > 0; most-- {
		e := s.queue.front()
		s.queue.pop()
		s.finished(e.stored())
	}
	return s.Waiting() > 0
}
