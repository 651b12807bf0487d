//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"sync"

	"midge/internal/bufpool"
)

const (
	// largeBytes is the size from which on input lies in buffers of the pool, in bytes.
	largeBytes = 32 << 10

	// maxFreeBytes is the largest buffer of a connection's own that waits for the
	// next user.
	maxFreeBytes = 64 << 10

	// maxWaste times as large as what is in it a large buffer may not be: a peer that
	// stops after a byte of a packet, or reads all but a byte, would hold a megabyte.
	// It is more than what buffers grow by at a time, or each byte would copy all.
	maxWaste = 4
)

// buffer holds input of a connection that can't be without.
type buffer struct {
	b        []byte
	expected int             // see engine.Conn.Expect; 0: nothing is expected
	mem      *bufpool.Buffer // that b lies in, nil if it has memory of its own
}

// grow makes room behind the input that is in the buffer, and returns all of it with
// that room.
func (i *buffer) grow(pool *bufpool.Pool) []byte {
	n := len(i.b)
	need := i.expected
	if need <= n {
		need = n + 1
	}
	if cap(i.b) < need {
		if i.expected <= n {
			need = 2*n + minReadBuffer
		}
		mem := pool.Get(need)
		b := append(mem.Bytes()[:0], i.b...)
		if i.mem != nil {
			i.mem.Release()
		}
		i.b, i.mem = b, mem
	}
	all := i.b[:cap(i.b)]
	if i.expected > n {
		all = all[:i.expected]
	}
	return all
}

// buffers are those that no connection has now. Safe from any goroutine.
type buffers struct {
	small sync.Pool // the garbage collector empties it
	large *bufpool.Pool
}

// get returns an empty buffer.
func (p *buffers) get() *buffer {
	if b, ok := p.small.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 512)}
}

// put takes a buffer back.
func (p *buffers) put(b *buffer) {
	if b.mem != nil {
		b.mem.Release()
		return
	}
	if cap(b.b) > maxFreeBytes {
		return
	}
	b.b, b.expected = b.b[:0], 0
	p.small.Put(b)
}

// newLargeInput returns an empty buffer for so many bytes of input.
func (p *buffers) newLargeInput(bytes int) *buffer {
	mem := p.large.Get(bytes)
	return &buffer{b: mem.Bytes()[:0], mem: mem}
}

// newInput returns an empty buffer for input that takes so many bytes soon.
func (p *buffers) newInput(bytes int) *buffer {
	if bytes >= largeBytes {
		return p.newLargeInput(bytes)
	}
	return p.get()
}

// renewRead takes another buffer to read into, since messages in this one are still
// read.
func (p *poller) renewRead() {
	p.read.Release()
	p.read = p.engine.buffers.large.Get(p.engine.cfg.ReadBuffer)
}
