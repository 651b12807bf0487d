//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"sync"

	"midge/internal/bufpool"
)

const (
	// largeBytes is the size of input from which on it lies in buffers of the pool, in
	// bytes.
	largeBytes = 32 << 10

	// poolBytes is the most that lies in the pool for the next users, in bytes.
	poolBytes = 16 << 20

	// keptBytes is the largest buffer that is kept for the next user.
	keptBytes = 64 << 10
)

// buffer holds input or output of a connection that can't be without.
type buffer struct {
	b    []byte
	most int             // of input: see engine.Conn.Expect; 0: nothing is expected
	mem  *bufpool.Buffer // that b lies in, nil if it has memory of its own
}

// grow makes room behind input that is kept, and returns all of it with that
// room.
func (i *buffer) grow(pool *bufpool.Pool) []byte {
	kept := len(i.b)
	need := i.most
	if need <= kept {
		need = kept + 1
	}
	if cap(i.b) < need {
		if i.most <= kept {
			need = 2*kept + minReadBuffer
		}
		mem := pool.Get(need)
		b := append(mem.Bytes()[:0], i.b...)
		if i.mem != nil {
			i.mem.Release()
		}
		i.b, i.mem = b, mem
	}
	all := i.b[:cap(i.b)]
	if i.most > kept {
		all = all[:i.most]
	}
	return all
}

// buffers is the pool of an engine. The garbage collector empties it.
type buffers struct{ pool sync.Pool }

func (p *buffers) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 512)}
}

func (p *buffers) put(b *buffer) {
	if b.mem != nil {
		b.mem.Release()
		return
	}
	if cap(b.b) > keptBytes {
		return
	}
	b.b, b.most = b.b[:0], 0
	p.pool.Put(b)
}

// newLargeInput returns an empty buffer for so many bytes of input.
func (e *Engine) newLargeInput(bytes int) *buffer {
	mem := e.pool.Get(bytes)
	return &buffer{b: mem.Bytes()[:0], most: bytes, mem: mem}
}

// newInput returns an empty buffer for input that takes so many bytes soon.
func (e *Engine) newInput(bytes int) *buffer {
	if bytes >= largeBytes {
		in := e.newLargeInput(bytes)
		in.most = 0
		return in
	}
	return e.buffers.get()
}

// renewRead takes another buffer to read into, since messages in this one are still
// read.
func (p *poller) renewRead() {
	p.read.Release()
	p.read = p.engine.pool.Get(p.engine.cfg.ReadBuffer)
}
