package broker

import (
	"cmp"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
)

// SetPressure sets how much memory of the budget is used, and what to
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
	b.serveArrivals(now.Budget)
	if p < SlowPublishers && before < SlowPublishers && !short {
		return // a CONNECT sees it
	}
	credit := 0
	if now.Full <= 0 {
		credit = trickle
	}
	for i, s := range b.shards {
		b.runner.Post(i, func() {
			s.budget.begin(p, credit)
		})
	}
}

// MemoryAsked gets a value when memory should be measured soon: half of what may
// be taken on has been.
func (b *Broker) MemoryAsked() <-chan struct{} { return b.memory.ask }

// Shed closes the clients whose connections hold the most until free bytes
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

// Shedding reports whether a call of Shed is at work. Safe from any goroutine.
func (b *Broker) Shedding() bool { return b.memory.shedding.Load() }

// shedding is a call of Shed. Each shard gives up its share, so that it begins
// when all have said what they have.
type shedding struct {
	b     *Broker
	free  int64
	total atomic.Int64 // bytes that those hold which are behind, in all shards
	left  atomic.Int32 // shards that have not said
	at    atomic.Int32 // shards that have not given up their share
}

// weigh adds up what clients of this shard hold that are behind.
func (s *shard) weigh(sh *shedding) {
	for _, c := range s.laggards() {
		sh.total.Add(c.holds())
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
	s.readClock()
	defer func() {
		if sh.at.Add(-1) == 0 {
			s.b.memory.shedding.Store(false)
		}
	}()
	behind, own := s.laggards(), int64(0)
	for _, c := range behind {
		own += c.holds()
	}
	slices.SortFunc(behind, func(a, b *conn) int { return cmp.Compare(b.holds(), a.holds()) })
	free := min(sh.free, sh.total.Load()) * own / max(sh.total.Load(), 1)
	for _, c := range behind {
		if free <= 0 {
			break
		}
		free -= c.holds()
		s.count.ClosedMemory++
		s.abort(c, packet.QuotaExceeded, "memory is used up, and much waits for the client, or for its acknowledgement")
	}
}

// abort ends the connection of a client, and gives up what is pending for it. A
// DISCONNECT would come behind all of that.
func (s *shard) abort(c *conn, code packet.ReasonCode, reason string) {
	s.note(c, line{level: slog.LevelWarn, what: clientClosed, id: c.name(), code: code, reason: reason})
	c.net.Abort()
	s.abandon(c, true, reason)
}

// holds is how many bytes the end of a client's connection gives back: the output that waits
// for it, and what its session has of messages that wait or are not acknowledged,
// unless that stays in memory.
func (c *conn) holds() int64 {
	n := int64(c.net.Pending())
	if cl := c.client; cl.stored() || cl.expiry == 0 {
		n += cl.session.ContentBytes()
	}
	return n
}

// laggards are the connections of clients that are behind.
func (s *shard) laggards() (all []*conn) {
	for cl := range s.clients.All {
		if c := cl.conn; c != nil && !c.closing && c.holds() > pendingUnderPressure {
			all = append(all, c)
		}
	}
	return all
}

// refuseForMemory refuses the CONNECT of a client if memory is short, unless it
// gives some back.
func (s *shard) refuseForMemory(c *conn, id string) bool {
	if Pressure(s.b.memory.pressure.Load()) < RefuseConnects && !s.budget.shut || s.givesBack(id) {
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

// givesBack reports whether a CONNECT takes no more memory than it gives back: it
// comes in the place of another connection, or for messages that wait in memory, for
// itself or for a group that it is in. If who is away were refused, what waits for
// him would keep everybody away for ever.
func (s *shard) givesBack(id string) bool {
	cl := s.clients.Get(id)
	switch {
	case cl == nil:
		return false
	case cl.conn != nil:
		return true
	case cl.stored(): // and so are the queues of groups
		return false
	}
	return cl.session.Queued()+cl.session.Inflight() > 0 || s.groupsWait(cl)
}

// groupsWait reports whether messages wait in a group that the client is in.
func (s *shard) groupsWait(cl *client) bool {
	for sub := range cl.subs.All {
		if sub.Group != nil && sub.Group.Busy() {
			return true
		}
	}
	return false
}

// serveArrivals gives room after memory was measured, and has stalled packets
// looked for now and then while others wait.
func (b *Broker) serveArrivals(budget int64) {
	r := &b.memory.arrivals
	r.limit.Store(budget / arrivalShare)
	b.memory.giveRoom()
	if now := b.runner.Now(); r.waits.Load() > 0 && now-r.looked >= lookEvery {
		r.looked = now
		for i, s := range b.shards {
			b.runner.Post(i, s.closeStalled)
		}
	}
}

// stalling is what is known of a connection that holds room others wait for.
type stalling struct {
	since     time.Duration
	lastInput uint32 // conn.lastInput then
	buffered  uint32 // and conn.buffered
}

// closeStalled closes those that have held room for long, and have next to
// nothing to show for it, the largest first, until nobody waits. It is called
// every lookEvery while anybody waits.
func (s *shard) closeStalled() {
	s.readClock()
	r := &s.b.memory.arrivals
	before := s.input.stalling
	if s.now-s.input.lookedAt > 2*lookEvery+tick { // nobody waited in between
		before = nil
	}
	s.input.lookedAt, s.input.stalling = s.now, map[*conn]stalling{}
	var stalled []*conn
	look := func(c *conn) {
		if c.closing || c.waits != 0 || c.buffered <= engine.ThrottledBytes {
			return
		}
		was, known := before[c]
		switch {
		case !known || c.lastInput != was.lastInput || c.buffered >= was.buffered+minArrival:
			s.input.stalling[c] = stalling{s.now, c.lastInput, c.buffered}
		case s.now-was.since >= arrivalPatience:
			stalled = append(stalled, c)
		default:
			s.input.stalling[c] = was
		}
	}
	for cl := range s.clients.All {
		if cl.conn != nil {
			look(cl.conn)
		}
	}
	for c := range s.handshakes.open {
		look(c)
	}
	slices.SortFunc(stalled, func(a, b *conn) int { return cmp.Compare(b.buffered, a.buffered) })
	for _, c := range stalled {
		if r.waits.Load() == 0 {
			return
		}
		s.count.ClosedArrivals++
		s.end(c, packet.QuotaExceeded, "the rest of a packet does not come, and others wait for the room that it takes")
	}
}
