package layer

import (
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// shard decorates an engine.Shard. It implements it.
type shard struct {
	layer *Layer
	index int
	inner engine.Shard

	dirty []*Conn // have output of this turn
	free  []*held // for the next connections that do something

	read        *bufpool.Buffer // that this turn decodes into, nil: nothing was decoded yet
	offering    *Conn           // whose Data call is on
	expected    int             // what that has passed to Conn.Expect
	inputBuffer *bufpool.Buffer // that its bytes lie in
	moveTo      int             // the shard that it named to Conn.Move, plus 1
}

// conn is the connection that raw carries, false if raw passes untouched. What is attached
// to it may belong to the layer above.
func (s *shard) conn(raw engine.Conn) (*Conn, bool) {
	codec, ok := raw.Attached().(Codec)
	if !ok {
		return nil, false
	}
	c := codec.Conn()
	return c, c.home.Load().layer == s.layer
}

// Open implements engine.Shard.
func (s *shard) Open(raw engine.Conn) {
	if c, ok := s.conn(raw); ok { // another shard has moved it here
		c.home.Store(s)
		if len(c.unsent()) > 0 && c.has(established) {
			s.markDirty(c)
		}
		c.codec().Moved()
		wait := c.has(established) && !c.has(paused) && (c.unread() != nil || c.has(more|ended))
		if wait {
			raw.Pause() // until that was offered
		}
		s.inner.Open(c)
		if wait && !c.has(paused|closing) {
			c.resumeLater()
		}
		return
	}
	if !s.layer.protocol.Speaks(raw.Listener()) {
		s.inner.Open(raw)
		return
	}
	codec := s.layer.protocol.NewCodec(raw)
	c := codec.Conn()
	if c.raw == nil {
		c.raw = raw
	}
	c.home.Store(s)
	raw.Attach(codec)
	s.inner.Open(c)
}

// Data implements engine.Shard.
func (s *shard) Data(raw engine.Conn, b []byte) int {
	c, ok := s.conn(raw)
	switch {
	case !ok:
		return s.inner.Data(raw, b)
	case c.has(closing):
		return len(b)
	case !c.has(established):
		return s.begin(c, b)
	}
	used, _ := s.decode(c, b)
	return used
}

// begin gives b to the codec until that is established, and decodes the rest.
func (s *shard) begin(c *Conn, b []byte) int {
	used := c.codec().Begin(b)
	if c.has(closing) {
		return len(b)
	}
	if c.home.Load() == s && c.has(established) && used < len(b) && !c.has(paused) {
		n, _ := s.decode(c, b[used:])
		used += n
	}
	return used
}

// Drained implements engine.Shard.
func (s *shard) Drained(raw engine.Conn) {
	c, ok := s.conn(raw)
	switch {
	case !ok:
		s.inner.Drained(raw)
	case !c.has(established | closing):
	case c.Pending() == 0:
		s.inner.Drained(c)
	default:
		s.drainLater(c)
	}
}

// drainLater calls Drained when what was sent in this turn is with the system. If it does
// not take all of it, the engine will call Drained again.
func (s *shard) drainLater(c *Conn) {
	if c.has(draining | closing) {
		return
	}
	c.flags |= draining
	c.Post(func() {
		c.flags &^= draining
		switch {
		case c.has(closing):
		case c.Pending() == 0:
			s.inner.Drained(c)
		case c.raw.Pending() == 0:
			s.drainLater(c)
		}
	})
}

// Closed implements engine.Shard.
func (s *shard) Closed(raw engine.Conn, err error) {
	c, ok := s.conn(raw)
	if !ok {
		s.inner.Closed(raw, err)
		return
	}
	c.home.Store(s) // also if it was leaving: the engine does not move what has ended
	if !c.has(closing) {
		c.flags |= closing
		c.codec().End(err)
	}
	if c.held != nil && c.held.end != nil {
		err, c.held.end = c.held.end, nil
	}
	c.dropOutput()
	c.dropInput()
	s.inner.Closed(c, err)
	c.state = nil
}

// Turn implements engine.Shard.
func (s *shard) Turn(now time.Duration) time.Duration {
	next := s.inner.Turn(now)
	s.flush()
	next = min(next, s.layer.protocol.Turn(s.index, now))
	if s.read != nil {
		s.read.Release()
		s.read = nil
	}
	return next
}
