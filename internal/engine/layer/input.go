package layer

import (
	"io"

	"midge/internal/bufpool"
)

// decode decodes b and offers it to the inner shard as far as that takes it. It returns
// how many bytes it used, and false if the connection has left the shard.
func (s *shard) decode(c *Conn, b []byte) (used int, here bool) {
	for !c.has(paused | closing | ended) {
		dst, unread, mem := s.place(c)
		n, filled, err := c.codec.Decode(b[used:], dst[unread:])
		used += n
		if c.flags &^= more; unread+filled == len(dst) {
			c.flags |= more
		}
		if err != nil {
			c.flags |= ended
			if err != io.EOF {
				c.end = &err
			}
		}
		if filled > 0 && !s.offer(c, dst[:unread+filled], mem) {
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
	if c.end != nil {
		c.Fail(*c.end)
		return
	}
	c.close(io.EOF)
}

// place returns where to decode to: behind what was left unused, which is the first
// unread bytes. mem is what it lies in, nil if that can't be shared.
func (s *shard) place(c *Conn) (dst []byte, unread int, mem *bufpool.Buffer) {
	if c.in != nil && len(c.in.b) > frontBytes {
		dst = c.in.grow(s.layer.buffers)
		return dst, len(c.in.b), c.in.mem
	}
	if s.read == nil {
		s.read = s.layer.buffers.Get(readBytes)
	}
	dst = s.read.Bytes()[:readBytes]
	if c.in != nil {
		unread = copy(dst, c.in.b)
	}
	return dst, unread, s.read
}

// offer calls Data with b, which lies in mem, or in c.in.b if that is nil, and keeps what the
// inner shard does not use. It returns false if the connection has left the shard.
func (s *shard) offer(c *Conn, b []byte, mem *bufpool.Buffer) (here bool) {
	s.expected, s.inputBuffer, s.offering = 0, mem, c
	used := s.inner.Data(c, b)
	s.inputBuffer, s.offering = nil, nil
	to := s.moveTo
	s.moveTo = 0
	if c.has(closing) {
		c.dropInput()
	} else if rest := b[used:]; len(rest) == 0 {
		c.dropInput()
	} else {
		if used == 0 && s.expected == 0 && c.in != nil {
			s.expected = c.in.expected // as before
		}
		s.keep(c, rest)
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

// keep keeps the bytes that Data left unused. They may lie in c.in.b.
func (s *shard) keep(c *Conn, rest []byte) {
	in := c.in
	need := max(len(rest), s.expected)
	if in != nil && cap(in.b) > 0 && len(rest) <= cap(in.b) && &rest[0] == &in.b[:1][0] && (cap(in.b) <= maxFreeBytes || cap(in.b) < maxWaste*need) {
		in.b, in.expected = rest, s.expected // there they are
		return
	}
	c.in = newInput(s.layer.buffers, need)
	c.in.b, c.in.expected = append(c.in.b, rest...), s.expected
	if in != nil {
		in.release()
	}
}

// dropInput forgets what the inner shard left unused.
func (c *Conn) dropInput() {
	if c.in != nil {
		c.in.release()
		c.in = nil
	}
}
