//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import "midge/internal/engine"

// Taken implements engine.Conn. Sockets that are not of TCP, and kernels that
// don't tell, count what they took themselves.
func (c *conn) Taken() uint64 {
	n, _ := engine.TakenOf(uintptr(c.fd))
	return n
}
