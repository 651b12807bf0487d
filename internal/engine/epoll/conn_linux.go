//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"net/netip"
	"syscall"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// Attach implements engine.Conn.
func (c *conn) Attach(state any) { c.state = state }

// Attached implements engine.Conn.
func (c *conn) Attached() any { return c.state }

// Send implements engine.Conn.
func (c *conn) Send(head, body []byte) {
	n := len(head) + len(body)
	if c.has(closing|dead|broken) || n == 0 {
		return
	}
	s := c.shard
	if c.out == nil {
		if c.size == 0 {
			if len(body) >= directBytes && len(head) > 0 {
				s.sendDirect(c, head, body, nil)
				return
			}
			c.off, c.size = s.put(head, body), uint32(n)
			s.markDirty(c)
			return
		}
		s.promote(c)
	}
	c.out.add(s.engine.buffers.Large, head, body)
	if c.out.size >= earlyBytes && !c.has(blocked) {
		s.write(c)
	}
}

// SendShared implements engine.Conn.
func (c *conn) SendShared(head, body []byte, buffer *bufpool.Buffer) {
	if c.has(closing|dead|broken) || len(body) < directBytes {
		c.Send(head, body)
		return
	}
	s := c.shard
	if c.out == nil {
		if c.size == 0 && len(body) >= earlyBytes {
			s.sendDirect(c, head, body, buffer)
			return
		}
		s.promote(c)
		s.markDirty(c)
	}
	if c.has(blocked) && isSmall(body, buffer) {
		c.out.add(s.engine.buffers.Large, head, body)
		return
	}
	c.out.share(s.engine.buffers.Large, head, body, 0, buffer)
	if c.out.size >= earlyBytes && !c.has(blocked) {
		s.write(c)
	}
}

// Pause implements engine.Conn. Epoll learns of it when the next event comes
// in vain, so that a short pause costs no system call.
func (c *conn) Pause() { c.flags |= paused }

// Resume implements engine.Conn.
func (c *conn) Resume() {
	if !c.has(paused) || c.has(closing|dead) {
		return
	}
	c.flags &^= paused
	if !c.has(resumed) && (c.in != nil || !c.has(armedIn)) {
		c.flags |= resumed
		c.shard.resumed = append(c.shard.resumed, c)
		c.shard.Schedule()
	}
}

// Expect implements engine.Conn.
func (c *conn) Expect(bytes int) {
	c.shard.expected = bytes
	if c.in != nil {
		c.in.Expected = bytes
	}
}

// InputBuffer implements engine.Conn.
func (c *conn) InputBuffer() *bufpool.Buffer { return c.shard.inputBuffer }

// Close implements engine.Conn.
func (c *conn) Close() { c.close(nil) }

// Abort implements engine.Conn.
func (c *conn) Abort() {
	if c.has(closing | dead) {
		return
	}
	c.shard.dropOutput(c)
	c.flags |= aborted
	c.close(nil)
}

// Exhaust implements engine.Conn.
func (c *conn) Exhaust(then func()) {
	s := c.shard
	s.exhausts = append(s.exhausts, exhaust{c, c.generation, engine.MaxExhausted, then})
	s.Schedule()
}

// Move implements engine.Conn.
func (c *conn) Move(shard int) {
	s := c.shard
	if c.has(closing|dead) || shard == s.Index() {
		return
	}
	s.moving, s.moveTo = c, shard
}

// Listener implements engine.Conn.
func (c *conn) Listener() int { return int(c.listener) }

// Remote implements engine.Conn.
func (c *conn) Remote() netip.AddrPort {
	return socketName(syscall.SYS_GETPEERNAME, c.fd, &c.shard.poller.name)
}

// Peer implements engine.Conn.
func (c *conn) Peer() engine.Peer {
	return engine.Peer{
		Listener: *c.shard.engine.names[c.listener].Load(),
		Remote:   c.Remote(),
		Local:    socketName(syscall.SYS_GETSOCKNAME, c.fd, &c.shard.poller.name),
	}
}

// Acked implements engine.Conn. Sockets that are not of TCP, and kernels that
// don't say, count what they took themselves.
func (c *conn) Acked() uint64 {
	if n, ok := engine.AckedBytes(uintptr(c.fd)); ok {
		return n
	}
	return c.shard.taken[c]
}
