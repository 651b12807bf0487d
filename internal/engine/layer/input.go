package layer

import (
	"io"

	"midge/internal/bufpool"
)

const (
	// readBytes is how much is decoded at once of a connection of which nothing is
	// expected, in bytes.
	readBytes = 64 << 10

	// frontBytes and less that were left unused are copied in front of what is decoded
	// next, instead of decoding behind them.
	frontBytes = 4 << 10
)

// decode decodes b and offers it to the inner shard as far as that takes it. It returns
// how many bytes it used, and false if the connection has left the shard.
func (s *shard) decode(c *Conn, b []byte) (used int, here bool) {
	for !c.has(paused | closing | ended) {
		dst, unread, mem, own := s.place(c)
		n, filled, again, err := c.codec().Decode(b[used:], dst[unread:])
		used += n
		if c.flags &^= more; again {
			c.flags |= more
		}
		if err != nil {
			c.flags |= ended
			if err != io.EOF {
				c.hold().end = err
			}
		}
		if dst = dst[:unread+filled]; own {
			c.held.in.B = dst
		}
		if filled > 0 && !s.offer(c, dst, mem) {
			return used, false
		}
		if !c.has(more) {
			break
		}
	}
	if c.has(ended) && !c.has(paused|closing) {
		s.finish(c)
	}
	if c.has(ended | closing) {
		used = len(b)
	}
	return used, true
}

// finish ends a connection whose peer has ended its output, which the inner shard has got.
func (s *shard) finish(c *Conn) {
	if c.held != nil && c.held.end != nil {
		c.Fail(c.held.end)
		return
	}
	c.close(io.EOF)
}

// place returns where to decode to: behind what was left unused, which is the first
// unread bytes. mem is what it lies in, nil if that can't be shared; own: it is what
// was left unused.
func (s *shard) place(c *Conn) (dst []byte, unread int, mem *bufpool.Buffer, own bool) {
	in := c.unread()
	if in != nil && len(in.B) > frontBytes {
		dst = in.Grow(s.layer.buffers.Large)
		return dst, len(in.B), in.Shared(), true
	}
	if s.read == nil {
		s.read = s.layer.buffers.Large.Get(readBytes)
	}
	dst = s.read.Bytes()[:readBytes]
	if in != nil {
		unread = copy(dst, in.B)
	}
	return dst, unread, s.read, false
}

// offer calls Data with b, which lies in mem, or in what was left unused if that is nil, and keeps what the
// inner shard does not use. It returns false if the connection has left the shard.
func (s *shard) offer(c *Conn, b []byte, mem *bufpool.Buffer) (here bool) {
	s.expected, s.inputBuffer, s.offering = 0, mem, c
	used := s.inner.Data(c, b)
	s.inputBuffer, s.offering = nil, nil
	to := s.moveTo
	s.moveTo = 0
	if c.has(closing) {
		c.dropInput()
	} else if used == len(b) {
		c.dropInput()
	} else {
		c.hold().in = s.layer.buffers.Keep(c.unread(), b, used, s.expected)
	}
	if s.read != nil && s.read.Shared() {
		s.read.Release()
		s.read = nil
	}
	if to > 0 && !c.has(closing) {
		c.depart(to - 1)
		return false
	}
	return true
}

// dropInput forgets what the inner shard left unused.
func (c *Conn) dropInput() {
	if in := c.unread(); in != nil {
		c.home.Load().layer.buffers.Put(in)
		c.held.in = nil
		c.letGo()
	}
}
