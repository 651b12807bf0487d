package layer

import "slices"

// Fail ends the connection because of err, after what was sent.
func (c *Conn) Fail(err error) {
	if c.has(closing) {
		return
	}
	c.flags |= closing
	c.end = &err
	c.dropOutput()
	c.codec.End(nil)
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
		c.codec.Goodbye()
	}
	c.flags |= closing
	if err != nil {
		c.end = &err
	}
	c.dropOutput()
	c.codec.End(nil)
	c.raw.Close()
}

// Abort implements engine.Conn.
func (c *Conn) Abort() {
	if c.has(closing) {
		return
	}
	c.flags |= closing
	c.dropOutput()
	c.codec.End(nil)
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
	c.home.Store(nil)
	c.raw.Move(to)
}
