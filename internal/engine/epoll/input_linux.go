//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"os"
	"slices"
	"syscall"

	"midge/internal/bufpool"
	"midge/internal/engine/input"
)

// receive reads once from c, offers what there is to the shard, and returns how
// much was read. Once is enough: epoll reports what is left in the next turn,
// after the others.
func (s *shard) receive(c *conn) int {
	p := s.poller
	own := c.in != nil && len(c.in.B) > p.frontBytes // read behind it instead of copying it
	again := c.in == nil && c.large > 0 && s.maxRead == s.engine.cfg.ReadBuffer
	if again { // another packet as large as the last one is likely
		c.in, own = s.engine.buffers.GetLarge(int(c.large)), true
	}
	var b []byte
	unread := 0 // bytes of b that Data left
	if own {
		unread = len(c.in.B)
		if b = c.in.Grow(s.engine.buffers.Large); again {
			b = b[:c.large]
		}
	} else {
		b = p.read.Bytes()[:s.engine.cfg.ReadBuffer]
		limit := s.maxRead
		if c.in != nil {
			unread = copy(b, c.in.B)
			if limit += unread; c.in.Expected > unread {
				limit = max(min(limit, c.in.Expected), s.maxRead)
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
		c.in.B = b
		s.offer(c, b, c.in.Shared())
		return n
	}
	s.offer(c, b, p.read)
	if p.read.Shared() {
		p.renewRead()
	}
	return n
}

// renewRead takes another buffer to read into, since messages in this one are still
// read.
func (p *poller) renewRead() {
	p.read.Release()
	p.read = p.engine.buffers.Large.Get(p.engine.cfg.ReadBuffer)
}

// offer calls Data with b, which lies in mem or, if that is nil, in c.in.B, and
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
	if used == len(b) {
		if c.large = 0; mem != nil && c.in != nil && c.in.Shared() == mem && len(b) >= input.LargeBytes {
			c.large = uint32(len(b))
		}
		s.dropInput(c)
	} else {
		c.in = s.engine.buffers.Keep(c.in, b, used, s.expected)
	}
	s.move()
}

// dropInput forgets the buffered input of c.
func (s *shard) dropInput(c *conn) {
	if c.in != nil {
		s.engine.buffers.Put(c.in)
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
		s.offer(c, c.in.B, c.in.Shared())
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
