// Package input holds what a shard has left unused of a connection's input, until more of it
// comes: for engines, and for layers between engines and shards. What it holds stays near
// what is in it, and a large packet that comes in small pieces is copied a few times only.
package input

import (
	"sync"

	"midge/internal/bufpool"
)

const (
	// LargeBytes is the size from which on input lies in buffers of the pool, in bytes.
	LargeBytes = 32 << 10

	// MaxFreeBytes is the largest buffer with memory of its own that waits for the
	// next user.
	MaxFreeBytes = 64 << 10

	// MaxWaste times as large as what is in it a large buffer may not be: a peer that
	// stops after a byte of a packet, or reads all but a byte, would hold a megabyte.
	// It is more than what buffers grow by at a time, or each byte would copy all.
	MaxWaste = 4

	// growBytes is what a buffer grows by at the least.
	growBytes = 4 << 10
)

// Buffer holds input of a connection that can't be without.
type Buffer struct {
	B        []byte
	Expected int             // see engine.Conn.Expect; 0: nothing is expected
	mem      *bufpool.Buffer // that B lies in, nil if it has memory of its own
}

// Shared is what the input lies in, as engine.Conn.InputBuffer returns it; nil if it can't
// be shared.
func (i *Buffer) Shared() *bufpool.Buffer { return i.mem }

// Grow makes room behind the input that is in the buffer, and returns all of it with
// that room.
func (i *Buffer) Grow(pool *bufpool.Pool) []byte {
	n := len(i.B)
	need := i.Expected
	if need <= n {
		need = n + 1
	}
	if cap(i.B) < need {
		if i.Expected <= n {
			need = 2*n + growBytes
		}
		mem := pool.Get(need)
		b := append(mem.Bytes()[:0], i.B...)
		if i.mem != nil {
			i.mem.Release()
		}
		i.B, i.mem = b, mem
	}
	all := i.B[:cap(i.B)]
	if i.Expected > n {
		all = all[:i.Expected]
	}
	return all
}

// Buffers are those that no connection has now. Safe from any goroutine.
type Buffers struct {
	Large *bufpool.Pool
	small sync.Pool // the garbage collector empties it
}

// Get returns an empty buffer for input that takes so many bytes soon.
func (p *Buffers) Get(bytes int) *Buffer {
	if bytes >= LargeBytes {
		return p.GetLarge(bytes)
	}
	if b, ok := p.small.Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, 512)}
}

// GetLarge returns an empty buffer for so many bytes, which can be shared.
func (p *Buffers) GetLarge(bytes int) *Buffer {
	mem := p.Large.Get(bytes)
	return &Buffer{B: mem.Bytes()[:0], mem: mem}
}

// Put takes a buffer back.
func (p *Buffers) Put(b *Buffer) {
	if b.mem != nil {
		b.mem.Release()
		return
	}
	if cap(b.B) > MaxFreeBytes {
		return
	}
	b.B, b.Expected = b.B[:0], 0
	p.small.Put(b)
}

// Keep returns a buffer with what a shard has left unused of b: all but the first used
// bytes. These may lie in in, the buffer of the connection so far, nil if it has none;
// Keep takes that back if it returns another one. expected is what the shard expects
// now; if it has used nothing, what it expected before still holds.
func (p *Buffers) Keep(in *Buffer, b []byte, used, expected int) *Buffer {
	rest := b[used:]
	if used == 0 && expected == 0 && in != nil {
		expected = in.Expected
	}
	need := max(len(rest), expected)
	waste := 0 // how many times larger than what it is needed for the buffer is
	if in != nil && cap(in.B) > MaxFreeBytes {
		waste = cap(in.B) / need
	}
	switch {
	case in == nil:
		in = p.Get(need)
	case waste < MaxWaste && len(rest) == len(in.B) && &rest[0] == &in.B[0]: // there they are
		in.Expected = expected
		return in
	case in.mem == nil && need >= LargeBytes,
		in.mem != nil && in.mem.Shared(), // with messages that are still read
		waste >= 2:                       // since they are copied anyhow
		defer p.Put(in)
		in = p.Get(need)
	}
	in.B, in.Expected = append(in.B[:0], rest...), expected
	return in
}
