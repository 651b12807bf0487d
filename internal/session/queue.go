package session

import (
	"math"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// entry is a delivery that waits or is under way.
type entry struct {
	ref
	m   *message.Message // nil if the content is on disk only
	via *via
}

// via is how a delivery came: nil for most. It does not change once it is built.
type via struct {
	ids   []uint32 // subscription identifiers
	group any      // the shared subscription, nil if none
}

// ref is what the session keeps of a stored message that waits, in 16 bytes.
type ref struct {
	key     message.Key // 0: the message is only in memory
	bits    uint32      // its size in bytes, and above:
	expires uint32      // when it ends, on the engine's clock in seconds, rounded up; 0: never or in over 136 years
}

const (
	bitQoS2   = 1 << 31
	bitRetain = 1 << 30
	bitSole   = 1 << 29
	sizeBits  = bitSole - 1 // a packet can't be larger
)

func refOf(s message.Stored, qos packet.QoS, retain bool, expires time.Duration) ref {
	r := ref{key: s.Key, bits: uint32(s.Size) & sizeBits}
	if qos == 2 {
		r.bits |= bitQoS2
	}
	if retain {
		r.bits |= bitRetain
	}
	if s.Sole {
		r.bits |= bitSole
	}
	if expires != 0 && expires <= math.MaxUint32*time.Second {
		r.expires = uint32(max(1, (expires+time.Second-1)/time.Second))
	}
	return r
}

func (r *ref) size() int    { return int(r.bits & sizeBits) }
func (r *ref) retain() bool { return r.bits&bitRetain != 0 }

func (r *ref) qos() packet.QoS {
	if r.bits&bitQoS2 != 0 {
		return 2
	}
	return 1
}

// expired reports whether the message has ended, to the second; its content
// knows better.
func (r *ref) expired(now time.Duration) bool {
	return r.expires != 0 && now >= time.Duration(r.expires)*time.Second
}

func (r *ref) stored() message.Stored {
	return message.Stored{Key: r.key, Size: r.size(), Sole: r.bits&bitSole != 0}
}

// missing tells that the content must be read before the message can be sent.
func (e *entry) missing() bool { return e.m == nil && e.key != 0 }

// expired reports whether the message has ended.
func (e *entry) expired(now time.Duration) bool {
	if e.m != nil {
		return e.m.Expired(now)
	}
	return e.ref.expired(now)
}

// queue holds the entries that wait, in order. A stored message costs 16 bytes
// and a share of its chunk, whatever its size; the first few may have their
// content in memory.
type queue struct {
	first, last *chunk
	n           int
	bytes       int64 // sizes of all messages
	ready       int   // entries at the front that have their content
	readyBytes  int   // of these, stored ones
}

// chunk is a piece of a queue. The first of a queue are small, for most queues
// are.
type chunk struct {
	refs []ref
	head int                // entries before are gone
	kept []*message.Message // by entry, nil if all are nil
	vias []*via             // by entry, nil if all are nil
	next *chunk
}

const (
	smallChunk = 4
	largeChunk = 256
)

func (q *queue) len() int { return q.n }

// push adds an entry.
func (q *queue) push(e entry) {
	c := q.last
	if c == nil || len(c.refs) == cap(c.refs) {
		size := smallChunk
		if c != nil {
			size = min(4*cap(c.refs), largeChunk)
		}
		next := &chunk{refs: make([]ref, 0, size)}
		if c == nil {
			q.first = next
		} else {
			c.next = next
		}
		q.last, c = next, next
	}
	c.refs = append(c.refs, e.ref)
	c.keep(len(c.refs)-1, e.m)
	if e.via != nil && c.vias == nil {
		c.vias = make([]*via, cap(c.refs))
	}
	if c.vias != nil {
		c.vias[len(c.refs)-1] = e.via
	}
	if q.ready == q.n && !e.missing() {
		q.ready++
		q.readyBytes += e.inMemory()
	}
	q.n++
	q.bytes += int64(e.size())
}

// inMemory is what the content of a stored message takes while it is read
// ahead.
func (e *entry) inMemory() int {
	if e.key == 0 || e.m == nil {
		return 0
	}
	return e.size()
}

func (c *chunk) keep(i int, m *message.Message) {
	if m != nil && c.kept == nil {
		c.kept = make([]*message.Message, cap(c.refs))
	}
	if c.kept != nil {
		c.kept[i] = m
	}
}

func (c *chunk) entry(i int) entry {
	e := entry{ref: c.refs[i]}
	if c.kept != nil {
		e.m = c.kept[i]
	}
	if c.vias != nil {
		e.via = c.vias[i]
	}
	return e
}

// front is the entry that has waited longest.
func (q *queue) front() entry { return q.first.entry(q.first.head) }

// pop removes it.
func (q *queue) pop() {
	c := q.first
	e := c.entry(c.head)
	if c.kept != nil {
		c.kept[c.head] = nil
	}
	c.head++
	q.n--
	q.bytes -= int64(e.size())
	if q.ready > 0 {
		q.ready--
		q.readyBytes -= e.inMemory()
	}
	if c.head < len(c.refs) {
		return
	}
	if q.first = c.next; q.first == nil {
		q.last = nil
	}
}

// all calls yield for each entry, in order, until it returns false.
func (q *queue) all(yield func(entry) bool) {
	for c := q.first; c != nil; c = c.next {
		for i := c.head; i < len(c.refs); i++ {
			if !yield(c.entry(i)) {
				return
			}
		}
	}
}

// remove removes the entries for which gone returns true.
func (q *queue) remove(gone func(*entry) bool) {
	old := *q
	*q = queue{}
	for e := range old.all {
		if !gone(&e) {
			q.push(e)
		}
	}
}

// unload forgets the content of stored messages.
func (q *queue) unload() {
	q.ready, q.readyBytes = 0, 0
	blocked := false
	for c := q.first; c != nil; c = c.next {
		all := true
		for i := c.head; i < len(c.refs); i++ {
			if c.refs[i].key != 0 {
				c.keep(i, nil)
				blocked = true
			} else {
				all = false
				if !blocked {
					q.ready++
				}
			}
		}
		if all {
			c.kept = nil
		}
	}
}

// supply gives entries that wait near the front their content; m is nil if it
// is lost. It reports whether the entry is there.
func (q *queue) supply(k message.Key, m *message.Message) (found bool) {
	seen := 0
	for c := q.first; c != nil; c = c.next {
		for i := c.head; i < len(c.refs); i++ {
			if c.refs[i].key == k {
				c.keep(i, m)
				q.count()
				return true
			}
			if seen++; seen > 2*ahead {
				return false
			}
		}
	}
	return false
}

// count finds the entries at the front that have become ready.
func (q *queue) count() {
	at := 0
	for c := q.first; c != nil; c = c.next {
		if left := len(c.refs) - c.head; at+left <= q.ready {
			at += left
			continue
		}
		for i := c.head + q.ready - at; i < len(c.refs); i++ {
			e := c.entry(i)
			if e.missing() {
				return
			}
			q.ready++
			q.readyBytes += e.inMemory()
		}
		at += len(c.refs) - c.head
	}
}
