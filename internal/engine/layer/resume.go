package layer

// goOn offers what was left unused and what the codec has, and then lets the raw
// connection go on. It runs in a posted call, so that the inner shard may move
// the connection.
func (c *Conn) goOn() {
	s := c.home.Load()
	if in := c.unread(); in != nil && !s.offer(c, in.B, in.Shared()) {
		return
	}
	if _, here := s.decode(c, nil); here && !c.has(paused|closing) {
		c.raw.Resume()
	}
}

// Established says that the peer has begun as the protocol asks. The codec calls it
// once, and nothing after it in the same call.
func (c *Conn) Established() {
	c.flags |= established
	if len(c.unsent()) > 0 {
		c.home.Load().markDirty(c)
	}
	if c.has(paused) {
		c.raw.Pause()
		c.flags |= more
		return
	}
	c.flags |= more
	c.goOn()
}

// Pause implements engine.Conn. While the peer still begins, the codec is the one
// that reads.
func (c *Conn) Pause() {
	c.flags |= paused
	if c.has(established) {
		c.raw.Pause()
	}
}

// Resume implements engine.Conn. The raw connection goes on when the inner shard
// has been offered what is here already.
func (c *Conn) Resume() {
	if !c.has(paused) || c.has(closing) {
		return
	}
	c.flags &^= paused
	if !c.has(established) {
		return
	}
	if c.unread() == nil && !c.has(more|ended) {
		c.raw.Resume()
		return
	}
	c.resumeLater()
}

// resumeLater posts goOn: Data that the inner shard gets in a turn could not move the
// connection.
func (c *Conn) resumeLater() {
	if c.has(resuming) {
		return
	}
	c.flags |= resuming
	c.Post(func() {
		c.flags &^= resuming
		if c.has(closing) || c.has(paused) {
			return
		}
		c.goOn()
	})
}
