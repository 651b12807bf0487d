package broker

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"

	"midge/internal/message"
	"midge/internal/packet"
)

// Pressure says how much of the process's memory budget is used. Each level
// adds something to what the levels below it do.
type Pressure uint32

// The levels, in the order of what is given up.
const (
	NoPressure     Pressure = iota
	RefuseConnects          // CONNECT is refused
	SlowPublishers          // a publisher has one packet in each round; QoS 0 is dropped for readers that are behind
	CloseReaders            // those that are behind furthest are closed; queues in memory take nothing
)

// pendingUnderPressure is what may wait for a reader before it counts as behind
// while memory is short, in bytes: what a reader that keeps up may have waiting
// for a moment.
const pendingUnderPressure = 16 << 10

// memory is the broker's part in keeping to the budget. Measuring takes time, and
// a busy machine takes more; so the shards count what they take on, and don't
// rely on being told soon enough.
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
	m.arrivals.init()
}

// Memory is what has been measured, in bytes.
type Memory struct {
	Used, Budget int64

	// Slow may be taken on before publishers are slowed down, Full before nothing
	// is, if it is not measured again. Garbage that has not been collected
	// counts as used here.
	Slow, Full int64
}

// SetPressure tells the broker how much memory of the budget is used, and what to
// do about it. Each call begins a round, in which publishers that wait go on for
// a packet each; so it is called again and again while there is pressure. Safe
// from any goroutine.
func (b *Broker) SetPressure(p Pressure, now Memory) {
	m := &b.memory
	m.used.Store(now.Used)
	m.budget.Store(now.Budget)
	m.slow.Store(now.Slow)
	m.full.Store(now.Full)
	m.taken.Store(0)
	before := Pressure(m.pressure.Swap(uint32(p)))
	short := m.short.Swap(false)
	b.retained.SetBudget(now.Budget / retainedShare)
	b.tendArrivals(now.Budget)
	if p < SlowPublishers && before < SlowPublishers && !short {
		return // a CONNECT sees it
	}
	credit := 0
	if now.Full <= 0 {
		credit = trickle
	}
	for i, s := range b.shards {
		b.runner.Post(i, func() {
			s.round, s.shut, s.credit = true, false, credit
			s.press(p)
		})
	}
}

// MemoryAsked gets a value when memory should be measured soon: half of what may
// be taken on has been.
func (b *Broker) MemoryAsked() <-chan struct{} { return b.memory.ask }

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

// charge counts bytes that may stay in memory, where they take up to a quarter
// more: it is given out in few sizes.
func (s *shard) charge(n int) {
	if s.credit -= n + n>>2; s.credit < 0 {
		s.draw()
	}
}

// draw takes credit for what was charged and for a while more. The budget has room
// for so much until it is measured again; when that is gone, the shard does what
// it would be told to.
func (s *shard) draw() {
	m := &s.b.memory
	n := drawBytes - s.credit
	s.credit = drawBytes
	taken, slow := m.taken.Add(int64(n)), m.slow.Load()
	switch {
	case taken > m.full.Load():
		s.shut = true
		fallthrough
	case taken > slow:
		s.press(max(s.pressure, SlowPublishers))
		m.short.Store(true)
	case taken <= slow/2:
		return
	}
	select {
	case m.ask <- struct{}{}:
	default:
	}
}

// press makes the shard do what a level of pressure asks for.
func (s *shard) press(p Pressure) {
	s.pressure = p
	switch {
	case s.shut:
		s.pending = -1
	case p >= SlowPublishers:
		s.pending = min(s.settings.pending, pendingUnderPressure)
	default:
		s.pending = s.settings.pending
	}
}

// Shed closes the clients that have the most output waiting until free bytes
// are given up, or nobody is behind. It returns at once, and does nothing while
// an earlier call is at work. Safe from any goroutine.
func (b *Broker) Shed(free int64) {
	if b.memory.shedding.Swap(true) {
		return
	}
	sh := &shedding{b: b, free: free}
	sh.left.Store(int32(len(b.shards)))
	sh.at.Store(int32(len(b.shards)))
	for i, s := range b.shards {
		b.runner.Post(i, func() { s.weigh(sh) })
	}
}

// Shedding tells whether a call of Shed is at work. Safe from any goroutine.
func (b *Broker) Shedding() bool { return b.memory.shedding.Load() }

// shedding is a call of Shed. Each shard gives up its share, so that it begins
// when all have told what they have.
type shedding struct {
	b     *Broker
	free  int64
	total atomic.Int64 // bytes that wait in all shards
	left  atomic.Int32 // shards that have not told
	at    atomic.Int32 // shards that have not given up their share
}

// weigh tells what waits for clients of this shard that are behind.
func (s *shard) weigh(sh *shedding) {
	for _, c := range s.laggards() {
		sh.total.Add(int64(c.net.Pending()))
	}
	if sh.left.Add(-1) > 0 {
		return
	}
	for i, s := range sh.b.shards {
		sh.b.runner.Post(i, func() { s.shed(sh) })
	}
}

// shed closes the clients of this shard that are behind furthest.
func (s *shard) shed(sh *shedding) {
	s.tell()
	defer func() {
		if sh.at.Add(-1) == 0 {
			s.b.memory.shedding.Store(false)
		}
	}()
	behind, own := s.laggards(), int64(0)
	for _, c := range behind {
		own += int64(c.net.Pending())
	}
	slices.SortFunc(behind, func(a, b *conn) int { return cmp.Compare(b.net.Pending(), a.net.Pending()) })
	free := min(sh.free, sh.total.Load()) * own / max(sh.total.Load(), 1)
	for _, c := range behind {
		if free <= 0 {
			break
		}
		free -= int64(c.net.Pending())
		s.count.ClosedMemory++
		s.cut(c, packet.QuotaExceeded, "memory is used up, and much output is waiting for the client")
	}
}

// cut ends the connection of a client, and gives up what is pending for it. A
// DISCONNECT would come behind all of that.
func (s *shard) cut(c *conn, code packet.ReasonCode, reason string) {
	s.note(c, slog.LevelWarn, clientClosed, c.name(), code, reason, "")
	c.net.Abort()
	s.abandon(c, true, reason)
}

// laggards are the connections of clients that are behind.
func (s *shard) laggards() (all []*conn) {
	for cl := range s.clients.All {
		if c := cl.conn; c != nil && !c.closing && c.net.Pending() > pendingUnderPressure {
			all = append(all, c)
		}
	}
	return all
}

// passes tells that a message may be sent although nothing is to be taken on: it
// takes less than a connection does, and the client has nothing pending.
func passes(pending int, m *message.Message) bool { return pending == 0 && m.Size() <= passBytes }

// passBytes is the size of messages that pass.
const passBytes = 1 << 10

// dropPending counts a QoS 0 message that a reader does not get because it is
// behind by that many bytes.
func (s *shard) dropPending(bytes int) {
	if bytes > s.settings.pending {
		s.count.DroppedSlow++
	} else {
		s.count.DroppedMemory++
	}
}

// refuseForMemory refuses a CONNECT if memory is short.
func (s *shard) refuseForMemory(c *conn) bool {
	if Pressure(s.b.memory.pressure.Load()) < RefuseConnects && !s.shut {
		return false
	}
	code := packet.ServerUnavailable
	if c.version == packet.V5 {
		code = packet.QuotaExceeded
	}
	s.count.RefusedMemory++
	s.refuse(c, code, "the memory that limits.memory allows is used up")
	return true
}
