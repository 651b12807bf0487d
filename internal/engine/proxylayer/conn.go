package proxylayer

import (
	"net/netip"

	"midge/internal/engine"
)

// conn is a connection of a proxy, as the inner shard sees it. The thread that holds the
// token of its shard uses it, nobody else.
type conn struct {
	engine.Conn // the engine's
	header
	state   any // what the inner shard attached
	open    bool
	paused  bool
	closing bool
}

// Attach implements engine.Conn.
func (c *conn) Attach(state any) { c.state = state }

// Attached implements engine.Conn.
func (c *conn) Attached() any { return c.state }

// Pause implements engine.Conn.
func (c *conn) Pause() {
	c.paused = true
	c.Conn.Pause()
}

// Resume implements engine.Conn.
func (c *conn) Resume() {
	c.paused = false
	c.Conn.Resume()
}

// Close implements engine.Conn.
func (c *conn) Close() {
	c.closing = true
	c.Conn.Close()
}

// Abort implements engine.Conn.
func (c *conn) Abort() {
	c.closing = true
	c.Conn.Abort()
}

// Remote implements engine.Conn: it is the client's address.
func (c *conn) Remote() netip.AddrPort {
	if c.remote.IsValid() {
		return c.remote
	}
	return c.Conn.Remote()
}

// Peer implements engine.Conn.
func (c *conn) Peer() engine.Peer {
	p := c.Conn.Peer()
	if c.remote.IsValid() {
		p.Remote, p.Local = c.remote, c.local
	}
	return p
}
