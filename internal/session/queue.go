package session

import (
	"time"

	"midge/internal/message"
)

// queue holds the entries that wait, in order. A stored message costs 16 bytes
// and a share of its chunk, whatever its size; the first few may have their
// content in memory.
type queue struct {
	first       *chunk // its prev is the last one, and an empty one may follow that
	cursor      *chunk // where sweep goes on; nil or empty: it has been through
	bytes       int64  // sizes of all messages
	n           int32
	loaded      int32  // entries that have their content
	loadedBytes int32  // of stored messages
	soonest     uint32 // no message ends before that, as in ref; 0: none ends
	round       uint32 // likewise, of what sweep has seen in this round
}

// chunk is a piece of a queue. The first of a queue are small, for most queues
// are.
type chunk struct {
	refs       []ref
	head       int                // entries before are gone
	contents   []*message.Message // by entry, nil if all are nil
	vias       []*via             // by entry, nil if all are nil
	prev, next *chunk
	soonest    uint32 // as in queue
}

const (
	smallChunk = 4
	largeChunk = 256
)

func (q *queue) len() int { return int(q.n) }

// whole reports whether no content must be read.
func (q *queue) whole() bool { return q.loaded == q.n }

// tally counts an entry that comes (1) or goes (-1).
func (q *queue) tally(e *entry, by int32) {
	q.n += by
	q.bytes += int64(by) * int64(e.size())
	if e.missing() {
		return
	}
	q.loaded += by
	if e.key != 0 {
		q.loadedBytes += by * int32(e.size())
	}
}

// push adds an entry.
func (q *queue) push(e entry) {
	c := q.tail()
	c.add(&e)
	q.soonest, q.round = sooner(q.soonest, e.expires), sooner(q.round, e.expires)
	q.tally(&e, 1)
}

// tail is the last chunk, which has room.
func (q *queue) tail() *chunk {
	if q.first == nil {
		q.first = &chunk{refs: make([]ref, 0, smallChunk)}
		q.first.prev = q.first
		return q.first
	}
	last := q.first.prev
	if len(last.refs) < cap(last.refs) {
		return last
	}
	if last.next == nil {
		last.next = &chunk{refs: make([]ref, 0, min(4*cap(last.refs), largeChunk))}
	}
	last.next.prev = last
	q.first.prev = last.next
	return last.next
}

// sooner is the earlier of two times, of which 0 never comes.
func sooner(a, b uint32) uint32 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (c *chunk) add(e *entry) {
	i := len(c.refs)
	c.refs = append(c.refs, e.ref)
	c.setContent(i, e.m)
	if e.via != nil && c.vias == nil {
		c.vias = make([]*via, cap(c.refs))
	}
	if c.vias != nil {
		c.vias[i] = e.via
	}
	c.soonest = sooner(c.soonest, e.expires)
}

func (c *chunk) setContent(i int, m *message.Message) {
	if m != nil && c.contents == nil {
		c.contents = make([]*message.Message, cap(c.refs))
	}
	if c.contents != nil {
		c.contents[i] = m
	}
}

func (c *chunk) entry(i int) entry {
	e := entry{ref: c.refs[i]}
	if c.contents != nil {
		e.m = c.contents[i]
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
	if c.contents != nil {
		c.contents[c.head] = nil
	}
	c.head++
	q.tally(&e, -1)
	if c.head < len(c.refs) {
		return
	}
	q.unlink(c)
	if q.n > 0 && cap(c.refs) == largeChunk && q.first.prev.next == nil { // a queue at its limit needs no memory
		clear(c.vias)
		*c = chunk{refs: c.refs[:0], contents: c.contents, vias: c.vias}
		q.first.prev.next = c
	}
}

// unlink removes a chunk that has nothing any more.
func (q *queue) unlink(c *chunk) {
	if q.n == 0 {
		*q = queue{}
		return
	}
	if q.cursor == c {
		q.cursor = c.next
	}
	last := q.first.prev
	switch c {
	case q.first:
		q.first = c.next
		q.first.prev = last
	case last:
		q.first.prev = c.prev
		c.prev.next = nil
	default:
		c.prev.next, c.next.prev = c.next, c.prev
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

// A sweep looks at so many chunks at most, and goes through the entries of one,
// or of some small ones.
const (
	sweepChunks  = 16
	sweepEntries = largeChunk
)

// sweep removes some of the entries that have expired, and calls gone for each. In a
// long queue not all of them are found at once: each call does a little and
// goes on where the last one ended, so that it never takes long.
func (q *queue) sweep(now time.Duration, gone func(entry)) {
	for range sweepEntries {
		if q.n == 0 {
			return
		}
		e := q.front()
		if !e.expired(now) {
			break
		}
		q.pop()
		gone(e)
	}
	seen := 0
	for range sweepChunks {
		if q.n == 0 || !reached(q.soonest, now) || seen >= sweepEntries {
			return
		}
		c := q.cursor
		if c == nil || len(c.refs) == 0 { // the round is over
			q.cursor, q.soonest, q.round = q.first, q.round, 0
			continue
		}
		q.cursor = c.next
		if !reached(c.soonest, now) {
			q.round = sooner(q.round, c.soonest)
			continue
		}
		seen += len(c.refs)
		q.squeeze(c, func(e entry) bool {
			if !e.expired(now) {
				return false
			}
			gone(e)
			return true
		})
		if next := q.cursor; next != nil && len(next.refs) > 0 {
			q.merge(next)
		}
		q.round = sooner(q.round, c.soonest)
		q.merge(c)
	}
}

// reached reports whether a time of ref.expires has come.
func reached(expires uint32, now time.Duration) bool {
	return (&ref{expires: expires}).expired(now)
}

// squeeze removes the entries of a chunk for which gone returns true. merge
// must follow.
func (q *queue) squeeze(c *chunk, gone func(entry) bool) {
	to := 0
	c.soonest = 0
	for i := c.head; i < len(c.refs); i++ {
		e := c.entry(i)
		if gone(e) {
			q.tally(&e, -1)
			continue
		}
		if to < i {
			c.refs[to] = e.ref
			if c.contents != nil {
				c.contents[to] = e.m
			}
			if c.vias != nil {
				c.vias[to] = e.via
			}
		}
		c.soonest = sooner(c.soonest, e.expires)
		to++
	}
	if c.contents != nil {
		clear(c.contents[to:])
	}
	if c.vias != nil {
		clear(c.vias[to:])
	}
	c.refs, c.head = c.refs[:to], 0
}

// merge moves the entries of a chunk to the one before if that has room, so
// that chunks do not stay that are almost empty.
func (q *queue) merge(c *chunk) {
	if len(c.refs) > c.head {
		to := c.prev
		if c == q.first || len(c.refs)-c.head > cap(to.refs)-len(to.refs) {
			return
		}
		for i := c.head; i < len(c.refs); i++ {
			e := c.entry(i)
			to.add(&e)
		}
		q.round = sooner(q.round, c.soonest) // sweep may have been at to, and not at c
	}
	q.unlink(c)
}

// removeVia removes the entries that have a via and for which gone returns true.
func (q *queue) removeVia(gone func(entry) bool) {
	if q.n == 0 {
		return
	}
	q.first.prev.next = nil // the spare chunk
	for c := q.first; c != nil; c = c.next {
		if c.vias != nil {
			q.squeeze(c, func(e entry) bool { return e.via != nil && gone(e) })
		}
	}
	for c := q.first; c != nil; {
		next := c.next
		q.merge(c)
		c = next
	}
}

// unload forgets the content of stored messages.
func (q *queue) unload() {
	for c := q.first; c != nil && q.loadedBytes > 0; c = c.next {
		if c.contents == nil {
			continue
		}
		for i := c.head; i < len(c.refs); i++ {
			q.load(c, i, nil)
		}
	}
}

// load gives a stored entry its content, or takes it away.
func (q *queue) load(c *chunk, i int, m *message.Message) {
	e := c.entry(i)
	if e.key == 0 {
		return
	}
	q.tally(&e, -1)
	c.setContent(i, m)
	e.m = m
	q.tally(&e, 1)
}

// near finds a stored message that was read ahead, so that it waits near the
// front if it does.
func (q *queue) near(k message.Key) (c *chunk, i int, found bool) {
	seen := 0
	for c := q.first; c != nil; c = c.next {
		for i := c.head; i < len(c.refs); i++ {
			if c.refs[i].key == k {
				return c, i, true
			}
			if seen++; seen > 2*ahead {
				return nil, 0, false
			}
		}
	}
	return nil, 0, false
}

// supply gives an entry that waits near the front its content.
func (q *queue) supply(k message.Key, m *message.Message) {
	if c, i, found := q.near(k); found {
		q.load(c, i, m)
	}
}

// lose removes an entry that waits near the front.
func (q *queue) lose(k message.Key) (e entry, found bool) {
	c, i, found := q.near(k)
	if !found {
		return e, false
	}
	e = c.entry(i)
	q.squeeze(c, func(o entry) bool { return o.key == k })
	q.merge(c)
	return e, true
}
