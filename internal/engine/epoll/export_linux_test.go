//go:build amd64 || arm64 || loong64 || riscv64

package epoll

// NeverCalm makes the first thread wait in system calls only, as on a kernel that does not
// let Go's poller watch it. Call it before Run.
func (e *Engine) NeverCalm() {
	c := &e.pollers[0].calm
	c.gate.Close()
	c.gate = nil
}
