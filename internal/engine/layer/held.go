package layer

import "midge/internal/engine/input"

const (
	// maxFree of them are kept by a shard for the next users, with buffers for output of at
	// most maxFreeBytes.
	maxFree      = 64
	maxFreeBytes = 16 << 10
)

// held is what a connection holds while it does something. Shards keep some for the next
// that do.
type held struct {
	in  *input.Buffer // what the inner shard left unused
	out []byte        // output that is not encoded yet
	end error         // why the connection ends: see engine.Shard.Closed
}

// hold is what c holds, to be added to.
func (c *Conn) hold() *held {
	if c.held == nil {
		c.held = c.home.Load().newHeld()
	}
	return c.held
}

// letGo gives held back if there is nothing in it.
func (c *Conn) letGo() {
	if h := c.held; h != nil && h.in == nil && len(h.out) == 0 && h.end == nil {
		c.home.Load().freeHeld(h)
		c.held = nil
	}
}

// unread is what the inner shard left unused, nil if that is nothing.
func (c *Conn) unread() *input.Buffer {
	if c.held == nil {
		return nil
	}
	return c.held.in
}

// unsent is the output that is not encoded yet.
func (c *Conn) unsent() []byte {
	if c.held == nil {
		return nil
	}
	return c.held.out
}

func (s *shard) newHeld() *held {
	if n := len(s.free); n > 0 {
		h := s.free[n-1]
		s.free = s.free[:n-1]
		return h
	}
	return &held{}
}

func (s *shard) freeHeld(h *held) {
	if cap(h.out) > maxFreeBytes {
		h.out = nil
	}
	if len(s.free) < maxFree && s != s.layer.nowhere {
		s.free = append(s.free, h)
	}
}
