package broker

import (
	"math"
	"sync/atomic"

	"midge/internal/message"
)

// Pressure says how much of the process's memory budget is used. Each level
// adds something to what the levels below it do.
type Pressure uint32

// The levels, in the order of what is given up.
const (
	NoPressure     Pressure = iota
	RefuseConnects          // CONNECT is refused, unless it gives memory back
	SlowPublishers          // a publisher has one packet in each round; QoS 0 is dropped for readers that are behind
	CloseReaders            // those that are behind furthest are closed; queues in memory take nothing
)

// pendingUnderPressure is what may wait for a reader before it counts as behind
// while memory is short, in bytes: what a reader that keeps up may have waiting
// for a moment.
const pendingUnderPressure = 16 << 10

// memory is the broker's part in keeping to the budget. Measuring takes time, and
// a busy machine takes more; so the shards count what they take on, and don't
// rely on a measurement soon enough.
type memory struct {
	pressure atomic.Uint32
	used     atomic.Int64
	budget   atomic.Int64

	taken    atomic.Int64 // bytes that shards have drawn since they were measured
	slow     atomic.Int64 // of these, how many may be drawn before publishers are slowed down
	full     atomic.Int64 // and before nothing is taken on
	short    atomic.Bool  // a shard has found that out by itself
	shedding atomic.Bool  // Shed has not ended
	ask      chan struct{}
	arrivals arrivals
}

func (m *memory) init() {
	m.slow.Store(math.MaxInt64)
	m.full.Store(math.MaxInt64)
	m.ask = make(chan struct{}, 1)
}

// Memory is what has been measured, in bytes.
type Memory struct {
	Used, Budget int64

	// Slow may be taken on before publishers are slowed down, Full before nothing
	// is, if it is not measured again. Garbage that has not been collected
	// counts as used here.
	Slow, Full int64
}

// retainedShare of the memory budget (one part in so many) is for retained
// messages. Nobody takes them away again when memory is short.
const retainedShare = 3

const (
	// drawBytes are drawn at a time, so that shards don't meet for each packet.
	drawBytes = 64 << 10

	// trickle is what a shard may take on in each round while the budget is used
	// up, in bytes, and a packet more: nobody gets stuck.
	trickle = 16 << 10

	// connBytes is about what a connection takes: with goroutines, two stacks and
	// a buffer.
	connBytes = 8 << 10

	// entryBytes is about what a message takes in a queue, besides its content.
	entryBytes = 64
)

// memoryShare is a shard's part in that.
type memoryShare struct {
	memory     *memory
	pressure   Pressure // see Broker.SetPressure
	round      bool     // publishers that wait for memory may go on for a packet, in this turn
	shut       bool     // the budget is used up: nothing is taken on in this round
	credit     int      // bytes that may be taken on; see draw
	maxPending int      // bytes that may wait for a client while there is enough memory,
	pending    int      // and now; -1: nothing may be sent that stays
	behind     int      // messages of the same size that may wait, if that is more; see behindMessages
}

func (b *memoryShare) init(m *memory, maxPending int) {
	*b = memoryShare{memory: m, maxPending: maxPending}
	b.press(NoPressure)
}

// charge counts bytes that may stay in memory, where they take up to a quarter
// more: it is given out in few sizes.
func (b *memoryShare) charge(n int) {
	if b.credit -= n + n>>2; b.credit < 0 {
		b.draw()
	}
}

// draw takes credit for what was charged and for a while more. There is room for so
// much until memory is measured again; when that is gone, the shard does what
// SetPressure would make it do.
func (b *memoryShare) draw() {
	m := b.memory
	n := drawBytes - b.credit
	b.credit = drawBytes
	taken, slow := m.taken.Add(int64(n)), m.slow.Load()
	switch {
	case taken > m.full.Load():
		b.shut = true
		fallthrough
	case taken > slow:
		b.press(max(b.pressure, SlowPublishers))
		m.short.Store(true)
	case taken <= slow/2:
		return
	}
	select {
	case m.ask <- struct{}{}:
	default:
	}
}

// begin begins a round, after memory was measured.
func (b *memoryShare) begin(p Pressure, credit int) {
	b.round, b.shut, b.credit = true, false, credit
	b.press(p)
}

// press does what a level of pressure asks for.
func (b *memoryShare) press(p Pressure) {
	b.pressure = p
	b.behind = 0
	switch {
	case b.shut:
		b.pending = -1
	case p >= SlowPublishers:
		b.pending = min(b.maxPending, pendingUnderPressure)
	default:
		b.pending, b.behind = b.maxPending, behindMessages
	}
}

// setMaxPending puts another limit in force.
func (b *memoryShare) setMaxPending(bytes int) {
	b.maxPending = bytes
	b.press(b.pressure)
}

// behindMessages is how many messages of the same size a client may be behind by, if that is more
// than limits.pending_bytes: one of the largest would fill that. Other brokers count
// messages, a thousand by default, and not bytes. Guess.
const behindMessages = 8

// takes reports whether a QoS 0 message may be sent to a client that has more pending than
// may be.
func (b *memoryShare) takes(pending int, m *message.Message) bool {
	return pending < b.behind*m.Size() || passes(pending, m)
}

// passes reports whether a message may be sent although nothing is to be taken on: it
// takes less than a connection does, and the client has nothing pending.
func passes(pending int, m *message.Message) bool { return pending == 0 && m.Size() <= passBytes }

// passBytes is the size of messages that pass.
const passBytes = 1 << 10
