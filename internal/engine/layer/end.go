package layer

import (
	"context"
	"log/slog"
	"slices"
)

// Refusal says why a connection did not become one of the protocol.
type Refusal struct {
	What   string // the protocol's words for it, such as "TLS handshake failed"
	Advice string // what the peer should do instead, or ""
	Reason string // a word that counters have, too
	Err    error
}

// Refuse ends the connection because of r, and logs that at level debug.
func (c *Conn) Refuse(log *slog.Logger, r Refusal) {
	if log.Enabled(context.Background(), slog.LevelDebug) {
		text := r.What
		if r.Advice != "" {
			text += ": " + r.Advice
		}
		log.Debug(text, "address", c.Remote(), "listener", c.raw.Peer().Listener, "reason", r.Reason, "error", r.Err)
	}
	c.Fail(r.Err)
}

// Fail ends the connection because of err, after what was sent.
func (c *Conn) Fail(err error) {
	if c.has(closing) {
		return
	}
	c.flags |= closing
	c.hold().end = err
	c.dropOutput()
	c.codec().End(nil)
	c.raw.Close()
}

// Close implements engine.Conn.
func (c *Conn) Close() { c.close(nil) }

// close ends the connection in order, with err for the inner shard.
func (c *Conn) close(err error) {
	if c.has(closing) {
		return
	}
	if c.has(established) {
		c.flush(nil, nil)
		c.codec().Goodbye()
	}
	c.flags |= closing
	if err != nil {
		c.hold().end = err
	}
	c.dropOutput()
	c.codec().End(nil)
	c.raw.Close()
}

// Abort implements engine.Conn.
func (c *Conn) Abort() {
	if c.has(closing) {
		return
	}
	c.flags |= closing
	c.dropOutput()
	c.codec().End(nil)
	c.raw.Abort()
}

// Move implements engine.Conn. If a call of Data is on, what that leaves unused comes
// along: see depart.
func (c *Conn) Move(to int) {
	s := c.home.Load()
	if c.has(closing) || to == s.index {
		return
	}
	if s.offering == c {
		s.moveTo = to + 1
		return
	}
	c.depart(to)
}

// depart gives the connection to another shard. The caller must not touch it any
// more.
func (c *Conn) depart(to int) {
	s := c.home.Load()
	if c.has(established) {
		c.flush(nil, nil)
	}
	if c.has(dirty) {
		c.flags &^= dirty
		s.dirty = slices.DeleteFunc(s.dirty, func(x *Conn) bool { return x == c })
	}
	c.flags &^= resuming | draining
	c.codec().Leave()
	c.home.Store(s.layer.nowhere)
	c.raw.Move(to)
}
