//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"syscall"

	"midge/internal/bufpool"
)

const (
	// directBytes and more of one body are not copied. They go to the kernel at once, or
	// are shared until the turn ends: several for one connection cost one call then.
	directBytes = 16 << 10

	// earlyBytes of output of one connection are written before the turn
	// ends, so that a fan-out of large messages is not held twice.
	earlyBytes = 64 << 10
)

// put adds a message to the arena and returns where it begins.
func (s *shard) put(head, body []byte) uint32 {
	offset, ok := s.arena.Put(head, body, &s.poller.arenas)
	if !ok {
		s.poller.flushShard(s)
		offset, _ = s.arena.Put(head, body, &s.poller.arenas)
	}
	return offset
}

func (s *shard) markDirty(c *conn) {
	if !c.has(dirty) {
		c.flags |= dirty
		s.dirty = append(s.dirty, c)
	}
}

// promote moves the only pending message of c, if there is one, into a pending of its
// own.
func (s *shard) promote(c *conn) {
	c.out = s.engine.pendings.get()
	if c.size > 0 {
		c.out.add(s.engine.buffers.Large, s.arena.At(c.off, c.size), nil)
		c.size = 0
	}
}

// sendPending writes what c has pending, as far as the kernel takes it.
func (s *shard) sendPending(c *conn) (int, syscall.Errno) {
	if c.out != nil {
		return s.poller.gather.sendPending(c.fd, c.out)
	}
	return send(c.fd, s.arena.At(c.off, c.size))
}

// write sends the pending output of c and takes note of what became of it.
func (s *shard) write(c *conn) {
	if c.Pending() == 0 {
		return
	}
	n, errno := s.sendPending(c)
	s.sent(c, n, errno)
}

// sendDirect sends a large body from where it lies; nothing else is pending. What the
// kernel doesn't take is shared if it lies in a buffer, or copied.
func (s *shard) sendDirect(c *conn, head, body []byte, buffer *bufpool.Buffer) {
	n, errno := s.poller.gather.sendTwo(c.fd, head, body)
	if errno == 0 && n == len(head)+len(body) {
		s.countSent(n)
		return
	}
	if errno != 0 {
		n = 0
	}
	sent := min(n, len(head))
	if s.promote(c); buffer != nil {
		c.out.share(s.engine.buffers.Large, head[sent:], body, n-sent, buffer)
	} else {
		c.out.add(s.engine.buffers.Large, head[sent:], body[n-sent:])
	}
	s.tookPart(c, n, errno)
}

func (s *shard) countSent(n int) {
	s.poller.tally.Sends++
	s.poller.tally.BytesOut += uint64(n)
}

// sent takes note of what the kernel did with the pending output of c: it took
// n bytes, or answered errno.
func (s *shard) sent(c *conn, n int, errno syscall.Errno) {
	if errno != 0 {
		n = 0
	}
	if n < c.Pending() {
		if c.out == nil {
			s.promote(c)
		}
		c.out.written(n)
		s.tookPart(c, n, errno)
		return
	}
	s.countSent(n)
	s.dropOutput(c)
	if c.has(blocked) {
		c.flags &^= blocked
		c.arm()
	}
}

// tookPart takes note that the kernel took only n bytes of output, or answered errno. The
// rest is pending.
func (s *shard) tookPart(c *conn, n int, errno syscall.Errno) {
	switch errno {
	case 0, syscall.EAGAIN, syscall.ENOBUFS, syscall.EINTR:
	default:
		s.breakOutput(c, errno)
		return
	}
	s.countSent(n)
	c.out.compact(s.engine.buffers.Large)
	if !c.has(blocked) {
		s.poller.tally.Blocked++
		c.flags |= blocked
		c.arm()
	}
}

// breakOutput ends the output of c after a failed send. The peer may have said
// all it had to say before it went, so its input is read to the end, which comes
// after what the kernel has.
func (s *shard) breakOutput(c *conn, errno syscall.Errno) {
	s.dropOutput(c)
	c.flags = c.flags&^blocked | broken
	c.note = uint8(min(errno, 255)) // Linux has 133
	shutdownBoth(c.fd)
	c.arm()
}

// dropOutput forgets the pending output of c.
func (s *shard) dropOutput(c *conn) {
	c.size = 0
	if c.out != nil {
		s.engine.pendings.put(c.out)
		c.out = nil
	}
}

// flush writes the output of all shards of the thread, each connection once.
func (p *poller) flush() {
	total := 0
	for _, s := range p.shards {
		total += len(s.dirty)
	}
	if total == 0 {
		return
	}
	batch := p.mayBatch(total)
	for _, s := range p.shards {
		p.writeDirty(s, batch && p.ring != nil)
	}
	if batch {
		p.submit()
	}
	for _, s := range p.shards {
		s.reset()
	}
}

// flushShard writes the output of one shard.
func (p *poller) flushShard(s *shard) {
	batch := p.mayBatch(len(s.dirty))
	p.writeDirty(s, batch)
	if batch {
		p.submit()
	}
	s.reset()
}

// batchConns connections with output are worth a batch of io_uring.
const batchConns = 4

func (p *poller) writeDirty(s *shard, batch bool) {
	for _, c := range s.dirty {
		c.flags &^= dirty
		if c.Pending() == 0 || c.has(blocked) {
			continue
		}
		if batch && p.ring.full() {
			p.submit()
			batch = p.ring != nil
		}
		switch {
		case !batch, c.out != nil && len(c.out.bodies) > 0:
			s.write(c)
		case c.out != nil:
			p.ring.send(c.fd, c.out.b, uint64(c.id))
		default:
			p.ring.send(c.fd, s.arena.At(c.off, c.size), uint64(c.id))
		}
	}
	s.dirty = s.dirty[:0]
}

// mayBatch reports whether sends to n connections may use the ring. A calm thread has
// none: to become busy for one fan-out a second costs more than its ring saves
// (bench/results/loads.md).
func (p *poller) mayBatch(n int) bool {
	if n < batchConns || !p.engine.uring || p.ringRefused {
		return false
	}
	return !p.calm.on && p.openRing()
}

// openRing makes a ring unless the thread has one, and reports whether it has.
func (p *poller) openRing() bool {
	if p.ring != nil {
		return true
	}
	var err error
	if p.ring, err = newRing(ringEntries); err != nil {
		p.ringRefused = true
		p.engine.cfg.Log.Warn("sending without io_uring", "thread", p.thread.Index(), "error", err)
	}
	return p.ring != nil
}

// submit sends what the ring holds and takes note of the results. All sends
// are non-blocking, so that they have ended when the kernel returns.
func (p *poller) submit() {
	if p.ring == nil || p.ring.queued() == 0 {
		return
	}
	p.tally.Batches++
	err := p.ring.submit(func(id uint64, res int32) {
		c := p.engine.slab.At(int32(id))
		if res < 0 {
			c.shard.sent(c, 0, syscall.Errno(-res))
			return
		}
		c.shard.sent(c, int(res), 0)
	})
	if err != nil { // what was not sent waits for EPOLLOUT now, which comes at once
		p.engine.cfg.Log.Warn("sending without io_uring", "thread", p.thread.Index(), "error", err)
		p.ring.close()
		p.ring, p.ringRefused = nil, true
	}
}

// reset ends a flush: nothing refers to the arena any more.
func (s *shard) reset() {
	s.arena.Reset(&s.poller.arenas)
	if cap(s.dirty) > 4096 {
		s.dirty = nil
	}
}
