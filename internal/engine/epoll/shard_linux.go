//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/loop"
)

// shard is what the engine keeps for one engine.Shard. The thread that holds the
// shard's token uses it, nobody else. It implements loop.Conns.
type shard struct {
	*loop.Shard
	engine  *Engine
	poller  *poller // of the last thread that held the token
	handler engine.Shard
	ep      int // epoll descriptor of its connections

	dirty   []*conn // have output of this turn
	ended   []ended // were closed, and Closed is still to be called
	resumed []*conn // are to be offered their input again
	moving  *conn   // asked to be moved during the Data or posted call that is on
	moveTo  int

	maxRead     int             // bytes that are read at once; see Engine.Throttle
	expected    int             // what the Data call that is on has passed to Conn.Expect
	inputBuffer *bufpool.Buffer // that its bytes lie in; nil: in one that is not shared

	exhausts []exhaust // whose input is to be offered as far as it has arrived

	arena loop.Arena // messages of this turn

	// taken is how many bytes of pending output the kernel took later, of connections whose
	// peers' acknowledgements it does not count: they have Unix sockets.
	taken map[*conn]uint64

	lingers lingers
	freed   []*conn // records to give back at the end of the turn
}

// ready handles the events of the shard's sockets.
func (s *shard) ready() {
	p := s.poller
	n := pollEvents(s.ep, p.connEvents)
	p.left = p.left || n == len(p.connEvents)
	for i := range n {
		ev := &p.connEvents[i]
		c := s.engine.slab.At(ev.Fd)
		if ev.Events != epollIn || c.has(lingering|closing|paused|dead) {
			p.left = true
		}
		switch {
		case c.has(lingering):
			s.continueLinger(c, ev.Events)
		case c.has(closing | dead):
		default:
			s.event(c, ev.Events)
		}
	}
	if n > 0 {
		s.Schedule()
	}
}

// event handles the events of one socket.
func (s *shard) event(c *conn, events uint32) {
	if events&epollOut != 0 && c.has(blocked) {
		before := c.Pending()
		s.write(c)
		if s.engine.local[c.listener].Load() {
			s.taken[c] += uint64(before - c.Pending())
		}
		if c.Pending() == 0 && !c.has(closing|broken) {
			s.handler.Drained(c)
		}
	}
	if events&(epollIn|epollBad) == 0 || c.has(closing) {
		return
	}
	if !c.has(paused) {
		s.receive(c)
		return
	}
	if events&epollBad != 0 {
		c.detach()
		return
	}
	c.arm() // the pause took effect only now
}

// Turn implements loop.Conns.
func (s *shard) Turn(now time.Duration) (next time.Duration) {
	s.runPosts()
	s.complete()
	next = s.handler.Turn(now)
	if len(s.resumed)+len(s.ended) > 0 || s.exhausting() {
		s.Schedule()
	}
	s.lingers.expire(now, s.free)
	return min(next, s.lingers.due())
}

// Output implements loop.Conns.
func (s *shard) Output() int { return len(s.dirty) }

// runPosts calls what was posted so far.
func (s *shard) runPosts() {
	for _, f := range s.Posts() {
		f()
		s.move()
	}
}

// complete does what calls have asked for: it offers their input again to resumed
// connections, finishes those that have ended, and receives for Exhaust.
func (s *shard) complete() {
	list := s.resumed
	s.resumed = nil
	for _, c := range list {
		c.flags &^= resumed
		if c.has(paused | closing) {
			continue
		}
		c.arm()
		if c.in != nil {
			s.offer(c, c.in.B, c.in.Shared())
		}
	}
	for len(s.ended) > 0 {
		list := s.ended
		s.ended = nil
		for _, e := range list {
			s.finish(e.c, e.err)
		}
	}
	if len(s.exhausts) > 0 {
		s.exhaustAll()
	}
}
