//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"os"
	"slices"
	"syscall"

	"midge/internal/bufpool"
)

// receive reads once from c, offers what there is to the shard, and returns how
// much was read. Once is enough: epoll reports what is left in the next turn,
// after the others.
func (s *shard) receive(c *conn) int {
	p := s.poller
	own := c.in != nil && len(c.in.b) > p.frontBytes // read behind it instead of copying it
	again := c.in == nil && c.large > 0 && s.maxRead == s.engine.cfg.ReadBuffer
	if again { // another packet as large as the last one is likely
		c.in, own = s.engine.buffers.newLargeInput(int(c.large)), true
	}
	var b []byte
	unread := 0 // bytes of b that Data left
	if own {
		unread = len(c.in.b)
		if b = c.in.grow(s.engine.buffers.large); again {
			b = b[:c.large]
		}
	} else {
		b = p.read.Bytes()[:s.engine.cfg.ReadBuffer]
		limit := s.maxRead
		if c.in != nil {
			unread = copy(b, c.in.b)
			if limit += unread; c.in.expected > unread {
				limit = max(min(limit, c.in.expected), s.maxRead)
			}
		}
		b = b[:min(len(b), limit)]
	}
	n, errno := recv(c.fd, b[unread:])
	if n <= 0 || errno != 0 {
		if own && unread == 0 {
			s.dropInput(c)
		}
		switch {
		case errno == 0:
			c.close(c.inputEnd())
		case errno != syscall.EAGAIN:
			c.close(os.NewSyscallError("recv", errno))
		}
		return 0
	}
	p.tally.Receives++
	p.tally.BytesIn += uint64(n)
	p.left = p.left || unread+n == len(b)
	b = b[:unread+n]
	if own {
		c.in.b = b
		s.offer(c, b, c.in.mem)
		return n
	}
	s.offer(c, b, p.read)
	if p.read.Shared() {
		p.renewRead()
	}
	return n
}

// offer calls Data with b, which lies in mem or, if that is nil, in c.in.b, and
// buffers what the shard does not use.
func (s *shard) offer(c *conn, b []byte, mem *bufpool.Buffer) {
	s.expected, s.inputBuffer = 0, mem
	used := s.handler.Data(c, b)
	s.inputBuffer = nil
	if c.has(closing) {
		s.moving = nil
		s.dropInput(c)
		return
	}
	if rest := b[used:]; len(rest) == 0 {
		if c.large = 0; mem != nil && c.in != nil && c.in.mem == mem && len(b) >= largeBytes {
			c.large = uint32(len(b))
		}
		s.dropInput(c)
	} else {
		if used == 0 && s.expected == 0 && c.in != nil {
			s.expected = c.in.expected // as before
		}
		s.bufferInput(c, rest)
	}
	s.move()
}

// bufferInput buffers the bytes that Data left unused. They may lie in c.in.b.
func (s *shard) bufferInput(c *conn, rest []byte) {
	in := c.in
	need := max(len(rest), s.expected)
	waste := 0 // how many times larger than what it is needed for the buffer is
	if in != nil && cap(in.b) > maxFreeBytes {
		waste = cap(in.b) / need
	}
	switch {
	case in == nil:
		in = s.engine.buffers.newInput(need)
	case waste < maxWaste && len(rest) == len(in.b) && &rest[0] == &in.b[0]: // there they are
		in.expected = s.expected
		return
	case in.mem == nil && need >= largeBytes,
		in.mem != nil && in.mem.Shared(), // with messages that are still read
		waste >= 2:                       // since they are copied anyhow
		in = s.engine.buffers.newInput(need)
		defer s.engine.buffers.put(c.in)
	}
	in.b, in.expected = append(in.b[:0], rest...), s.expected
	c.in = in
}

// dropInput forgets the buffered input of c.
func (s *shard) dropInput(c *conn) {
	if c.in != nil {
		s.engine.buffers.put(c.in)
		c.in = nil
	}
}

// move gives the connection that asked for it during the call that has returned
// to its new shard.
func (s *shard) move() {
	c := s.moving
	if s.moving = nil; c != nil && !c.has(closing|dead) {
		s.transfer(c, s.engine.shards[s.moveTo])
	}
}

// transfer gives c to another shard.
func (s *shard) transfer(c *conn, to *shard) {
	s.poller.tally.Moves++
	if !c.has(detached) {
		if err := control(s.ep, syscall.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0); err != nil {
			c.close(os.NewSyscallError("epoll_ctl", err))
			return
		}
	}
	if c.size > 0 {
		s.promote(c)
	}
	remove := func(list []*conn) []*conn {
		if i := slices.Index(list, c); i >= 0 {
			return slices.Delete(list, i, i+1)
		}
		return list
	}
	wasDirty := c.has(dirty)
	if wasDirty {
		s.dirty = remove(s.dirty)
	}
	if c.has(resumed) {
		s.resumed = remove(s.resumed)
	}
	c.flags &^= dirty | resumed | detached | armedIn | armedOut
	c.shard = to
	if s.poller.thread.Holds(to.Shard) {
		to.adopt(c, wasDirty)
		return
	}
	s.engine.loop.Post(to.Index(), func() { to.adopt(c, wasDirty) })
}

// adopt makes c a connection of this shard; it is in no epoll set now.
func (s *shard) adopt(c *conn, wasDirty bool) {
	c.shard = s
	want := c.wants()
	if err := control(s.ep, syscall.EPOLL_CTL_ADD, int(c.fd), want.events(), c.id, kindConn); err != nil {
		s.handler.Open(c)
		c.close(os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.flags |= want
	if wasDirty {
		s.markDirty(c)
	}
	s.Schedule()
	s.handler.Open(c)
	if c.in != nil && !c.has(paused|closing) {
		s.offer(c, c.in.b, c.in.mem)
	}
}

// exhaust is a call of Conn.Exhaust that is on.
type exhaust struct {
	c          *conn
	generation uint32
	left       int // bytes that may be received for it; 0: there is no more
	then       func()
}

// exhaustAll receives once for each call of Exhaust, and ends those with nothing
// to receive. A paused connection waits for Resume.
func (s *shard) exhaustAll() {
	list := s.exhausts
	s.exhausts = nil
	for _, x := range list {
		if x.on() {
			if x.left > 0 && !x.c.has(paused) {
				n := s.receive(x.c)
				if x.left -= n; n == 0 {
					x.left = 0
				}
			}
			if x.left > 0 || x.c.has(paused|resumed|closing) {
				s.exhausts = append(s.exhausts, x)
				continue
			}
		}
		x.then()
	}
}

// on reports whether Closed was not called for the connection.
func (x *exhaust) on() bool {
	return x.c.generation == x.generation && !x.c.has(lingering|dead)
}

// exhausting reports whether the next turn can receive for a call of Exhaust.
func (s *shard) exhausting() bool {
	return slices.ContainsFunc(s.exhausts, func(x exhaust) bool { return !x.on() || !x.c.has(paused) })
}
