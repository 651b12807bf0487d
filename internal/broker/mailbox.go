package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/bufpool"
	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
)

// copyBelow is the size of a message, in bytes, below which it is copied into a
// batch: that is cheaper than what the garbage of a clone costs. Larger ones share the
// buffer of the publisher's input, of which at least a quarter is theirs then, or are
// cloned once for all shards.
const copyBelow = 16 << 10

// envelope is a message on its way to another shard.
type envelope struct {
	parcel    *message.Parcel // or, for a small one, where it lies in the arena:
	key       message.Key     // for receivers that are on disk; 0: none were known
	at        uint32
	topic     uint16
	props     uint16
	payload   uint16
	qos       packet.QoS
	retain    bool
	away      bool   // member was not connected when it was picked
	counted   bool   // in its load
	waited    bool   // see shard.waited
	interval  uint32 // seconds
	expires   time.Duration
	publisher string
	group     *group  // nil: for all subscribers of the shard
	member    *client // of group; not to be looked into before it arrives. nil: for its queue
}

// batch holds the envelopes of one turn from one shard to another.
type batch struct {
	envelopes []envelope
	arena     []byte
	size      int           // bytes, for the limit of the mailbox
	durable   bool          // an envelope has a key
	parcels   bool          // an envelope retains one
	turns     []*store.Turn // that are complete only when these envelopes are on disk
	then      func()        // what a shard has put off until it has read all before; see afterEnvelopes
}

// put adds a message. *packed is the message as a parcel for other shards, if there is one;
// put makes it if it must. buffer is what its payload lies in, if that can
// be shared.
func (b *batch) put(m *message.Message, buffer *bufpool.Buffer, packed **message.Parcel, l envelope) {
	l.qos, l.retain, l.interval, l.expires, l.publisher = m.QoS, m.Retain, m.Interval, m.Expires, m.Publisher
	size := m.Size()
	b.size += size + 64 // and about as much for the envelope
	b.durable = b.durable || l.key != 0
	if size >= copyBelow {
		if *packed == nil {
			*packed = message.NewParcel(m, buffer)
		}
		l.parcel, b.parcels = *packed, true
		l.parcel.Retain()
		b.envelopes = append(b.envelopes, l)
		return
	}
	l.at = uint32(len(b.arena))
	l.topic, l.props, l.payload = uint16(len(m.Topic)), uint16(len(m.Properties)), uint16(len(m.Payload))
	b.arena = append(append(append(b.arena, m.Topic...), m.Properties...), m.Payload...)
	b.envelopes = append(b.envelopes, l)
}

// open writes the message of an envelope to m, which is borrowed until the batch
// is released.
func (b *batch) open(l *envelope, m *message.Message) {
	if l.parcel != nil {
		*m = l.parcel.Message
		return
	}
	t := l.at + uint32(l.topic)
	p := t + uint32(l.props)
	e := p + uint32(l.payload)
	*m = message.Message{
		Topic: b.arena[l.at:t:t], Properties: b.arena[t:p:p], Payload: b.arena[p:e:e],
		QoS: l.qos, Retain: l.retain, Interval: l.interval, Expires: l.expires, Publisher: l.publisher,
	}
}

// batchPool gives batches their memory back.
type batchPool struct{ sync.Pool }

func (p *batchPool) get() *batch {
	if b, ok := p.Pool.Get().(*batch); ok {
		return b
	}
	return &batch{}
}

func (p *batchPool) put(b *batch) {
	if b.parcels {
		for i := range b.envelopes {
			if packed := b.envelopes[i].parcel; packed != nil {
				packed.Release()
			}
		}
	}
	clear(b.envelopes)
	clear(b.turns)
	*b = batch{envelopes: b.envelopes[:0], arena: b.arena[:0], turns: b.turns[:0]}
	if cap(b.arena) <= 1<<20 {
		p.Pool.Put(b)
	}
}

// mailbox is where a shard gets batches from others. It is bounded by its
// users: a shard that posts to a full one pauses the publisher.
type mailbox struct {
	bytes   atomic.Int64
	waiting atomic.Uint64 // the shards that want to be woken when it is not full any more
	mu      sync.Mutex
	batches []*batch
}

// post adds a batch, from any shard.
func (m *mailbox) post(b *batch) {
	m.bytes.Add(int64(b.size))
	m.mu.Lock()
	m.batches = append(m.batches, b)
	m.mu.Unlock()
}

// take exchanges the batches for an empty slice.
func (m *mailbox) take(empty []*batch) []*batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.batches
	m.batches = empty
	return taken
}

// flush hands the batches of this turn over, with one wake-up for each shard
// that gets one.
func (s *shard) flush() {
	s.disk.submit(s.outgoing)
	for i, b := range s.outgoing {
		if b == nil {
			continue
		}
		s.outgoing[i] = nil
		s.b.shards[i].inbox.post(b)
		s.b.runner.Wake(i)
	}
}

// mail puts a message into the batch for another shard. It reports false if
// that shard is over its limit: the publisher must wait.
func (s *shard) mail(to int, m *message.Message, packed **message.Parcel, l envelope) bool {
	b := s.outgoing[to]
	box := &s.b.shards[to].inbox
	waiting := box.bytes.Load()
	if b != nil {
		waiting += int64(b.size)
	}
	limit := s.settings.mailbox
	if waiting > 2*limit && m.QoS == 0 {
		s.count.DroppedMailbox++
		return false
	}
	if b == nil {
		b = s.b.batches.get()
		s.outgoing[to] = b
	}
	if l.key != 0 {
		for _, t := range s.reading.turns { // it came by an envelope itself
			if !slices.Contains(b.turns, t) {
				b.turns = append(b.turns, t)
			}
		}
	}
	s.budget.charge(m.Size() + entryBytes)
	b.put(m, s.payloadBuffer, packed, l)
	return waiting <= limit
}

// stall pauses a publisher until the mailboxes that it fills are drained.
func (s *shard) stall(c *conn) {
	if c.waits&forRoom != 0 {
		return
	}
	s.pause(c, forRoom)
	s.stalled = append(s.stalled, c)
	s.count.PausedPublishers++
}

// unstall lets publishers go on if no mailbox is over its limit any more, and
// the disk has caught up; otherwise the shard of that mailbox or the store will
// wake this one.
func (s *shard) unstall() {
	if len(s.stalled)+len(s.unserved) == 0 {
		return
	}
	if s.budget.pressure >= SlowPublishers && !s.budget.round {
		return // the next round wakes us
	}
	if s.disk.busy() {
		s.b.stalled.Or(1 << s.index)
		// It may have caught up before it could see the bit.
		if s.disk.busy() {
			return
		}
	}
	limit := s.settings.mailbox
	for _, other := range s.b.shards {
		if other == s || other.inbox.bytes.Load() <= limit {
			continue
		}
		other.inbox.waiting.Or(1 << s.index)
		// It may have drained before it could see the bit.
		if other.inbox.bytes.Load() > limit {
			return
		}
	}
	for _, c := range s.unserved {
		s.resume(c, forRoom)
	}
	for _, c := range s.stalled {
		s.resume(c, forRoom)
	}
	clear(s.unserved)
	clear(s.stalled)
	s.unserved, s.stalled = s.unserved[:0], s.stalled[:0]
}
