package gonet

import (
	"syscall"

	"midge/internal/engine"
)

// Acked implements engine.Conn. Where the system does not say what the peer has
// taken, it is what the system has.
func (c *conn) Acked() uint64 {
	n, ok := uint64(0), false
	if raw, is := c.net.(syscall.Conn); is {
		if rc, err := raw.SyscallConn(); err == nil {
			_ = rc.Control(func(fd uintptr) { n, ok = engine.AckedBytes(fd) }) // an error leaves ok false
		}
	}
	if !ok {
		return c.wrote.Load()
	}
	return n
}
