package broker

import (
	"container/list"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/packet"
)

// A packet is handled when all of it has arrived. Until then the engine keeps
// what there is, and so it does for a connection that is paused. That would be
// the cheapest way to fill the memory of a broker: a megabyte each, from a
// thousand connections that never send the last byte. So there is room for so
// much (arrivals). A packet that is not small goes on if there is room for all of
// it; the others' connections are not read, and go on in the order in which they
// came. One always goes on, so that nobody waits for ever. Who has room, while
// others wait for it, and sends next to nothing, is closed.

const (
	// arrivalShare of the budget (one part in so many) is the room for large
	// packets that go on. All else that is buffered has twice as much, which they
	// can't take from it.
	arrivalShare = 10

	// smallBytes is the size of packets that are small here, in bytes.
	smallBytes = 16 << 10

	// firstRoom is what the engine makes room for first, in bytes, and then for
	// twice what has arrived: a peer costs what it sends.
	firstRoom = 64 << 10

	// arrivalPatience is how long a peer may have room that others wait for with
	// less than minArrival bytes coming, and no packet being complete: less
	// than 3.2 kB a second, from a slow radio.
	arrivalPatience = 5 * time.Second
	minArrival      = 16 << 10

	// lookEvery is how often that is looked at.
	lookEvery = time.Second
)

// arrivals is the room for what the engine keeps of the input of all connections.
type arrivals struct {
	limit      atomic.Int64 // bytes; see arrivalShare
	otherBytes atomic.Int64 // bytes that are buffered, but for large packets that go on
	waits      atomic.Int32 // connections in queues

	mu     sync.Mutex
	going  [arrivalKinds]int64     // bytes of packets that go on, as they are going to be
	queues [arrivalKinds]list.List // of *arriving, in the order in which they came
	looked time.Duration           // when stalled ones were looked for last; see tendArrivals
}

// arrivalKind is whether a packet is large.
type arrivalKind uint8

const (
	largeArrival arrivalKind = iota
	smallArrival
	arrivalKinds
)

// arriving is a packet that goes on or waits, if it is large or had to wait.
type arriving struct {
	s    *shard
	c    *conn
	kind arrivalKind
	size int
	room int  // that the engine was asked to make; see engine.Conn.Expect
	on   bool // it goes on, and the shard knows

	queued   *list.Element // nil: it does not wait. The lock of arrivals guards it, and
	reserved bool          // that it is in going
}

// input is what a shard knows of packets that arrive.
type input struct {
	arriving map[*conn]*arriving // that are not small, or have to wait
	large    bool                // a large packet was handled, or a message of one; see forgetLarge
	sips     bool                // the engine reads little at once; see Runner.Throttle
	stalling map[*conn]stalling  // who has room that others wait for,
	lookedAt time.Duration       // when that was looked at
}

func (r *arrivals) init() { r.limit.Store(math.MaxInt64 / 4) }

// reserve lets a packet go on if there is room for it.
func (m *memory) reserve(a *arriving) bool {
	r := &m.arrivals
	going := r.going[a.kind]
	room := m.roomForSmall(going + int64(a.size))
	if a.kind == largeArrival {
		room = going+int64(a.size) <= r.limit.Load() && !m.tight()
	}
	if !room && going > 0 {
		return false
	}
	r.going[a.kind] += int64(a.size)
	a.reserved = true
	return true
}

// roomForSmall reports whether small packets may go on that are going to take so
// many bytes more.
func (m *memory) roomForSmall(bytes int64) bool {
	limit := m.arrivals.limit.Load()
	if !m.tight() {
		limit *= 2
	}
	return m.arrivals.otherBytes.Load()+bytes <= limit
}

// tight reports whether memory is short, as far as anybody knows: large packets go on
// one by one.
func (m *memory) tight() bool {
	return Pressure(m.pressure.Load()) >= SlowPublishers || m.short.Load()
}

// keepRest counts what the engine keeps of a connection's input from now on, and
// looks for room if that is the beginning of a packet. used: earlier bytes
// were used.
func (s *shard) keepRest(c *conn, rest []byte, used bool) {
	m := &s.b.memory
	a := s.input.arriving[c]
	size := packet.Announced(rest)
	if a != nil && used { // its packet is done with
		s.input.large = s.input.large || a.kind == largeArrival
		s.endArrival(a)
		a = nil
	}
	before := int(c.buffered)
	c.buffered = uint32(len(rest))
	if a == nil || a.kind == smallArrival {
		m.arrivals.otherBytes.Add(int64(len(rest) - before))
		s.budget.charge(max(len(rest)-before, 0))
		m.giveRoom()
	}
	s.sip()
	if size <= len(rest) || c.waits != 0 || c.closing || c.client == nil && used { // behind CONNECT nothing is looked at yet
		return
	}
	if a == nil {
		if size <= smallBytes && m.roomForSmall(0) {
			return
		}
		a = s.beginArrival(c, size)
	}
	if a.on && a.kind == largeArrival {
		s.expect(a)
	}
}

// sip makes the engine read little at once while much is buffered.
func (s *shard) sip() {
	r := &s.b.memory.arrivals
	if over := r.otherBytes.Load() > r.limit.Load(); over != s.input.sips {
		s.input.sips = over
		s.b.runner.Throttle(s.index, over)
	}
}

// beginArrival lets a packet go on, or its connection wait.
func (s *shard) beginArrival(c *conn, size int) *arriving {
	m := &s.b.memory
	r := &m.arrivals
	a := &arriving{s: s, c: c, size: size}
	if size <= smallBytes {
		a.kind = smallArrival
	}
	s.input.arriving[c] = a
	r.mu.Lock()
	on := r.queues[a.kind].Len() == 0 && m.reserve(a)
	if !on {
		a.queued = r.queues[a.kind].PushBack(a)
		r.waits.Add(1)
	}
	r.mu.Unlock()
	if on {
		s.admitArrival(a)
	} else {
		s.count.PausedArrivals++
		s.pause(c, forMemory)
		m.giveRoom() // it may have come before anybody could see the queue
	}
	return a
}

// admitArrival takes note that a packet has room.
func (s *shard) admitArrival(a *arriving) {
	if a.on = true; a.kind == largeArrival {
		s.b.memory.arrivals.otherBytes.Add(-int64(a.c.buffered))
	}
}

// expect makes room for more of a packet when it has filled what it had.
func (s *shard) expect(a *arriving) {
	buffered := int(a.c.buffered)
	if room := min(a.size, max(2*buffered, firstRoom)); buffered >= a.room {
		a.room = room
		s.budget.charge(room - buffered)
		a.c.net.Expect(room)
	}
}

// endArrival is the end of a packet that has gone on or waited.
func (s *shard) endArrival(a *arriving) {
	r := &s.b.memory.arrivals
	delete(s.input.arriving, a.c)
	if a.on && a.kind == largeArrival {
		r.otherBytes.Add(int64(a.c.buffered))
	}
	r.mu.Lock()
	if a.queued != nil {
		r.unqueue(a)
	}
	if a.reserved {
		r.going[a.kind] -= int64(a.size)
	}
	r.mu.Unlock()
	s.b.memory.giveRoom()
}

func (r *arrivals) unqueue(a *arriving) {
	r.queues[a.kind].Remove(a.queued)
	a.queued = nil
	r.waits.Add(-1)
}

// forgetInput is the end of what was buffered for a connection.
func (s *shard) forgetInput(c *conn) {
	if c.buffered == 0 {
		return
	}
	if a := s.input.arriving[c]; a != nil {
		s.endArrival(a)
	}
	s.b.memory.arrivals.otherBytes.Add(-int64(c.buffered))
	c.buffered = 0
	s.b.memory.giveRoom()
}

// giveRoom lets those go on that there is room for.
func (m *memory) giveRoom() {
	r := &m.arrivals
	if r.waits.Load() == 0 {
		return
	}
	var on []*arriving
	r.mu.Lock()
	for kind := range arrivalKinds {
		for e := r.queues[kind].Front(); e != nil && m.reserve(e.Value.(*arriving)); e = r.queues[kind].Front() {
			a := e.Value.(*arriving)
			r.unqueue(a)
			on = append(on, a)
		}
	}
	r.mu.Unlock()
	for _, a := range on {
		a.s.b.runner.Post(a.s.index, func() { a.s.resumeArrival(a) })
	}
}

// resumeArrival is the end of a wait for room.
func (s *shard) resumeArrival(a *arriving) {
	if s.input.arriving[a.c] != a {
		return
	}
	s.readClock()
	if s.admitArrival(a); a.kind == largeArrival {
		s.expect(a)
	}
	s.resume(a.c, forMemory)
}
