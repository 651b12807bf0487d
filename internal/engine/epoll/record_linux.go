//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"io"
	"os"
	"syscall"

	"midge/internal/engine/input"
)

// conn is one connection, in 72 bytes: all that the engine has for it while
// it is idle. It implements engine.Conn. The thread that holds the token of
// the shard uses it, nobody else.
type conn struct {
	shard      *shard
	state      any           // what the shard attached
	out        *pending      // output of more than one Send, or not taken by the kernel
	in         *input.Buffer // bytes that Data left unused
	fd         int32
	id         int32  // number in the slab
	generation uint32 // counts the connections that had this record
	off, size  uint32 // the only pending message, in shard.arena; size 0 if none
	large      uint32 // bytes of the last packet, if that was large
	flags      flags
	note       uint8 // broken: the errno; lingering: how often input was thrown away
	listener   uint8 // engine.Listener.Number of the one that accepted it
}

type flags uint16

const (
	dirty     flags = 1 << iota // is in shard.dirty
	blocked                     // the kernel did not take all of out; wait for EPOLLOUT
	paused                      // the shard wants no Data
	resumed                     // is in shard.resumed
	closing                     // is in shard.ended, or was: no Data, no Send
	broken                      // output failed: nothing is sent any more, and input is read to its end
	detached                    // paused and broken: it is in no epoll set until Resume
	lingering                   // Closed was called; output or the peer's end is outstanding
	shutDown                    // lingering, and our end is shut down
	ignored                     // lingering, and input is not read any more
	aborted                     // Abort was called: it does not linger
	dead                        // the record is not in use
	armedIn                     // epoll reports input
	armedOut                    // epoll reports room for output
)

// has reports whether c has one of the flags.
func (c *conn) has(f flags) bool { return c.flags&f != 0 }

// Pending implements engine.Conn.
func (c *conn) Pending() int {
	if c.out != nil {
		return c.out.size
	}
	return int(c.size)
}

// ended is a connection for which Closed is still to be called, with err.
type ended struct {
	c   *conn
	err error
}

// close ends c for the shard: no call comes for it but Closed with err, when the
// call that is on has returned.
func (c *conn) close(err error) {
	if c.has(closing | dead) {
		return
	}
	c.flags |= closing
	c.shard.ended = append(c.shard.ended, ended{c, err})
	c.shard.Schedule()
}

// inputEnd is why the input of c has ended.
func (c *conn) inputEnd() error {
	if c.has(broken) {
		return os.NewSyscallError("send", syscall.Errno(c.note))
	}
	return io.EOF
}

// wants is what epoll should report of c.
func (c *conn) wants() flags {
	var want flags
	if !c.has(paused | ignored) {
		want |= armedIn
	}
	if c.has(blocked) {
		want |= armedOut
	}
	return want
}

// events are the events of epoll that f asks for.
func (f flags) events() uint32 {
	var ev uint32
	if f&armedIn != 0 {
		ev |= epollIn | epollEnd
	}
	if f&armedOut != 0 {
		ev |= epollOut
	}
	return ev
}

// arm makes epoll report what c waits for, if that has changed.
func (c *conn) arm() {
	want := c.wants()
	if c.flags&(armedIn|armedOut) == want {
		return
	}
	op := syscall.EPOLL_CTL_MOD
	if c.has(detached) {
		op = syscall.EPOLL_CTL_ADD
	}
	if err := control(c.shard.ep, op, int(c.fd), want.events(), c.id, kindConn); err != nil {
		c.close(os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.flags = c.flags&^(armedIn|armedOut|detached) | want
	c.shard.poller.left = true
}

// detach takes a paused connection that is broken out of the epoll set, which
// would report it without end. What it had received is offered after Resume.
func (c *conn) detach() {
	if err := control(c.shard.ep, syscall.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0); err != nil {
		c.close(os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.flags = c.flags&^(armedIn|armedOut) | detached
}
