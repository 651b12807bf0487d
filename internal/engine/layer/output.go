package layer

import "midge/internal/bufpool"

const (
	// directBytes and more of one body are encoded from where they lie.
	directBytes = 16 << 10

	// earlyBytes of output are encoded before the turn ends.
	earlyBytes = 64 << 10

	// maxFree buffers for output are kept by a shard for the next users, each of at most
	// maxFreeBytes.
	maxFree      = 64
	maxFreeBytes = 16 << 10
)

// output is what a connection sends in a turn.
type output struct{ b []byte }

// Send implements engine.Conn.
func (c *Conn) Send(head, body []byte) { c.SendShared(head, body, nil) }

// SendShared implements engine.Conn.
func (c *Conn) SendShared(head, body []byte, buffer *bufpool.Buffer) {
	if c.has(closing) || len(head)+len(body) == 0 {
		return
	}
	s := c.home.Load()
	if c.out == nil {
		c.out = s.newOutput()
	}
	if len(body) >= directBytes && c.has(established) {
		c.out.b = append(c.out.b, head...)
		c.flush(body, buffer)
		return
	}
	c.out.b = append(append(c.out.b, head...), body...)
	switch {
	case !c.has(established):
	case len(c.out.b) >= earlyBytes:
		c.flush(nil, nil)
	default:
		s.markDirty(c)
	}
}

// flush encodes the output so far, and then body.
func (c *Conn) flush(body []byte, buffer *bufpool.Buffer) {
	o := c.out
	if o == nil {
		return
	}
	c.out = nil
	c.codec.Encode(o.b, body, buffer)
	c.home.Load().freeOutput(o)
}

// dropOutput forgets output that is not encoded.
func (c *Conn) dropOutput() { c.out = nil }

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

func (s *shard) newOutput() *output {
	if n := len(s.free); n > 0 {
		o := s.free[n-1]
		s.free = s.free[:n-1]
		return o
	}
	return &output{b: make([]byte, 0, 512)}
}

func (s *shard) freeOutput(o *output) {
	if cap(o.b) <= maxFreeBytes && len(s.free) < maxFree {
		o.b = o.b[:0]
		s.free = append(s.free, o)
	}
}
