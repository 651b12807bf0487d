//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"net/netip"
	"os"
	"syscall"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// conn is one connection, in 64 bytes: all that the engine keeps for it while
// it is idle. It implements engine.Conn. The thread that holds the token of
// the shard uses it, nobody else.
type conn struct {
	shard      *shard
	state      any     // what the shard attached
	out        *buffer // output of more than one Send, or not taken by the kernel
	in         *buffer // bytes that Data left unused
	fd         int32
	id         int32  // number in the slab
	generation uint32 // counts the connections that had this record
	off, size  uint32 // the only pending message, in shard.arena; size 0 if none
	large      uint32 // bytes of the last packet, if that was large
	flags      flags
	note       uint8 // broken: the errno; lingering: how often input was thrown away
	listener   uint8 // number in engine.listeners of the one that accepted it
}

type flags uint16

const (
	dirty     flags = 1 << iota // is in shard.dirty
	blocked                     // the kernel did not take all of out; wait for EPOLLOUT
	paused                      // the shard wants no Data
	resumed                     // is in shard.resumed
	closing                     // is in shard.doomed, or was: no Data, no Send
	broken                      // output failed: nothing is sent any more, and input is read to its end
	muted                       // paused and broken: it is in no epoll set until Resume
	lingering                   // Closed was called; output or the peer's end is outstanding
	finished                    // lingering, and our end is shut down
	deaf                        // lingering, and input is not read any more
	aborted                     // Abort was called: it does not linger
	dead                        // the record is not in use
	armedIn                     // epoll reports input
	armedOut                    // epoll reports room for output
)

func (c *conn) has(f flags) bool { return c.flags&f != 0 }

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
				s.sendDirect(c, head, body)
				return
			}
			c.off, c.size = s.put(head, body), uint32(n)
			s.markDirty(c)
			return
		}
		s.promote(c)
	}
	c.out.b = append(append(c.out.b, head...), body...)
	if len(c.out.b) >= earlyBytes && !c.has(blocked) {
		s.write(c)
	}
}

// Pending implements engine.Conn.
func (c *conn) Pending() int {
	if c.out != nil {
		return len(c.out.b)
	}
	return int(c.size)
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
		c.in.most = bytes
	}
}

// Close implements engine.Conn.
func (c *conn) Close() { c.shard.doom(c, nil) }

// InputBuffer implements engine.Conn.
func (c *conn) InputBuffer() *bufpool.Buffer { return c.shard.inputBuffer }

// Abort implements engine.Conn.
func (c *conn) Abort() {
	if c.has(closing | dead) {
		return
	}
	c.shard.dropOutput(c)
	c.flags |= aborted
	c.shard.doom(c, nil)
}

// Exhaust implements engine.Conn.
func (c *conn) Exhaust(then func()) {
	s := c.shard
	s.exhausts = append(s.exhausts, exhaust{c, c.generation, engine.MostExhausted, then})
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

// Attach implements engine.Conn.
func (c *conn) Attach(state any) { c.state = state }

// Attached implements engine.Conn.
func (c *conn) Attached() any { return c.state }

// Remote implements engine.Conn.
func (c *conn) Remote() netip.AddrPort {
	return socketName(syscall.SYS_GETPEERNAME, c.fd, &c.shard.poller.name)
}

// Peer implements engine.Conn.
func (c *conn) Peer() engine.Peer {
	return engine.Peer{
		Listener: c.shard.engine.listeners[c.listener].addr.String(),
		Remote:   c.Remote(),
		Local:    socketName(syscall.SYS_GETSOCKNAME, c.fd, &c.shard.poller.name),
	}
}

// arm tells epoll what c waits for, if that has changed.
func (c *conn) arm() {
	want := c.wants()
	if c.flags&(armedIn|armedOut) == want {
		return
	}
	op := syscall.EPOLL_CTL_MOD
	if c.has(muted) {
		op = syscall.EPOLL_CTL_ADD
	}
	if err := control(c.shard.ep, op, int(c.fd), want.events(), c.id, kindConn); err != nil {
		c.shard.doom(c, os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.flags = c.flags&^(armedIn|armedOut|muted) | want
}

// mute takes a paused connection that is broken out of the epoll set, which
// would report it without end. What it had received is offered after Resume.
func (c *conn) mute() {
	if err := control(c.shard.ep, syscall.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0); err != nil {
		c.shard.doom(c, os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.flags = c.flags&^(armedIn|armedOut) | muted
}

// wants is what epoll should report of c.
func (c *conn) wants() flags {
	var want flags
	if !c.has(paused | deaf) {
		want |= armedIn
	}
	if c.has(blocked) {
		want |= armedOut
	}
	return want
}

func (f flags) events() uint32 {
	var ev uint32
	if f&armedIn != 0 {
		ev |= epollIn
	}
	if f&armedOut != 0 {
		ev |= epollOut
	}
	return ev
}
