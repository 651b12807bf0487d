package layer

import "midge/internal/bufpool"

const (
	// directBytes and more of one body are encoded from where they lie.
	directBytes = 16 << 10

	// earlyBytes of output are encoded before the turn ends.
	earlyBytes = 64 << 10
)

// Send implements engine.Conn.
func (c *Conn) Send(head, body []byte) { c.SendShared(head, body, nil) }

// SendShared implements engine.Conn.
func (c *Conn) SendShared(head, body []byte, buffer *bufpool.Buffer) {
	if c.has(closing) || len(head)+len(body) == 0 {
		return
	}
	h := c.hold()
	if len(body) >= directBytes && c.has(established) {
		h.out = append(h.out, head...)
		c.flush(body, buffer)
		return
	}
	h.out = append(append(h.out, head...), body...)
	switch {
	case !c.has(established):
	case len(h.out) >= earlyBytes:
		c.flush(nil, nil)
	default:
		c.home.Load().markDirty(c)
	}
}

// flush encodes the output so far, and then body.
func (c *Conn) flush(body []byte, buffer *bufpool.Buffer) {
	out := c.unsent()
	if len(out)+len(body) == 0 {
		return
	}
	c.held.out = out[:0]
	c.codec().Encode(out, body, buffer)
	c.letGo()
}

// dropOutput forgets output that is not encoded.
func (c *Conn) dropOutput() {
	if c.held != nil {
		c.held.out = c.held.out[:0]
		c.letGo()
	}
}

// markDirty notes that c has output.
func (s *shard) markDirty(c *Conn) {
	if !c.has(dirty) {
		c.flags |= dirty
		s.dirty = append(s.dirty, c)
	}
}

// flush encodes what the connections of the shard have sent in this turn.
func (s *shard) flush() {
	for i, c := range s.dirty {
		c.flags &^= dirty
		c.flush(nil, nil)
		s.dirty[i] = nil
	}
	s.dirty = s.dirty[:0]
}
