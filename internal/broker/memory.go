package broker

import (
	"cmp"
	"slices"
	"sync/atomic"

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

// memory is the broker's part in keeping to the budget.
type memory struct {
	pressure atomic.Uint32
	used     atomic.Int64
	budget   atomic.Int64
}

// SetPressure tells the broker how much memory of the budget is used, in bytes,
// and what to do about it. Each call begins a round, in which publishers that
// wait go on for a packet each; so it is called again and again while there is
// pressure. Safe from any goroutine.
func (b *Broker) SetPressure(p Pressure, used, budget int64) {
	b.memory.used.Store(used)
	b.memory.budget.Store(budget)
	before := Pressure(b.memory.pressure.Swap(uint32(p)))
	if p < SlowPublishers && before < SlowPublishers {
		return // a CONNECT sees it
	}
	for i, s := range b.shards {
		b.runner.Post(i, func() {
			s.pressure, s.round = p, true
			s.pending = b.cfg.Limits.PendingBytes
			if p >= SlowPublishers {
				s.pending = min(s.pending, pendingUnderPressure)
			}
		})
	}
}

// Shed closes the clients that have the most output waiting until free bytes
// are given up, or nobody is behind. It returns at once. Safe from any goroutine.
func (b *Broker) Shed(free int64) {
	sh := &shedding{b: b, free: free}
	sh.left.Store(int32(len(b.shards)))
	for i, s := range b.shards {
		b.runner.Post(i, func() { s.weigh(sh) })
	}
}

// shedding is a call of Shed. Each shard gives up its share, so that it begins
// when all have told what they have.
type shedding struct {
	b     *Broker
	free  int64
	total atomic.Int64 // bytes that wait in all shards
	left  atomic.Int32 // shards that have not told
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
		s.end(c, packet.QuotaExceeded, "memory is used up, and much output is waiting for the client")
	}
}

// laggards are the connections of clients that are behind.
func (s *shard) laggards() (all []*conn) {
	for _, cl := range s.clients {
		if c := cl.conn; c != nil && !c.closing && c.net.Pending() > pendingUnderPressure {
			all = append(all, c)
		}
	}
	return all
}

// dropPending counts a QoS 0 message that a reader does not get because it is
// behind by that many bytes.
func (s *shard) dropPending(bytes int) {
	if bytes > s.b.cfg.Limits.PendingBytes {
		s.count.DroppedSlow++
	} else {
		s.count.DroppedMemory++
	}
}

// refuseForMemory refuses a CONNECT if memory is short.
func (s *shard) refuseForMemory(c *conn) bool {
	if Pressure(s.b.memory.pressure.Load()) < RefuseConnects {
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
