// Package bufpool lends out large pieces of memory that several may share by
// count, and takes them back to be used again: for packets that would otherwise
// leave as much garbage as they have bytes.
//
// The garbage collector owns the memory in the end. A Buffer that nobody
// releases is not lent out again, and is no leak. So whoever keeps bytes of one
// for long retains it and never releases it; only who surely is done with the
// bytes releases.
//
// All methods are safe from any goroutine.
package bufpool

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	// smallest and largest are the sizes of buffers that are pooled, in bytes.
	// Others are allocated for each Get.
	smallest = 16 << 10
	largest  = 2 << 20

	// steps sizes lie between a power of two and the next, so that at most a fifth of
	// a buffer is more than what was asked for.
	steps = 4

	// trimEvery is how long a buffer may lie in a pool without use: it is let go after
	// one to two times as long.
	trimEvery = time.Second
)

const classes = steps*7 + 1 // from smallest to largest, which is 1<<7 times as large

// classOf is the number of the smallest size that n bytes, from smallest to largest,
// fit in.
func classOf(n int) int {
	power := bits.Len(uint(n-1)) - 1 // 1<<power < n <= 2<<power
	step := 1 << power / steps
	return (power-bits.Len(smallest-1))*steps + (n-1<<power+step-1)/step
}

// sizeOf is the size of a class in bytes.
func sizeOf(class int) int { return smallest / steps * (steps + class%steps) << (class / steps) }

// Pool lends out Buffers. The zero value keeps none of them; see New.
type Pool struct {
	idle    atomic.Int64  // bytes that wait for the next user
	trimmed atomic.Uint64 // bytes that nobody used and that were let go
	maxIdle int64

	mu    sync.Mutex
	free  [classes][]*Buffer // the last one was used last: the processor's cache knows it
	least [classes]int       // the fewest in free since the last call of trim
	trims bool               // trim will be called
}

// New returns a pool that keeps at most so many bytes for the next users.
func New(maxIdle int64) *Pool {
	return &Pool{maxIdle: maxIdle}
}

// MaxIdle is how much a process keeps for the next users, in bytes: some of the largest
// packets that are allowed by default. Guess.
const MaxIdle = 16 << 20

// Trimmed is the number of bytes that nobody used any more and that were let go, since
// the start.
func (p *Pool) Trimmed() uint64 { return p.trimmed.Load() }

// Idle is the number of bytes that wait for the next user.
func (p *Pool) Idle() int64 { return p.idle.Load() }

// Buffer is memory with a count of those who share it.
type Buffer struct {
	memory []byte
	refs   atomic.Int32
	class  int16 // -1: it is not pooled
	pool   *Pool
}

// Get returns a Buffer of at least n bytes, whose contents are arbitrary, with a
// count of one.
func (p *Pool) Get(n int) *Buffer {
	if n < smallest || n > largest {
		b := &Buffer{memory: make([]byte, n), class: -1}
		b.refs.Store(1)
		return b
	}
	class := classOf(n)
	if b := p.take(class); b != nil {
		b.refs.Store(1)
		return b
	}
	b := &Buffer{memory: make([]byte, sizeOf(class)), class: int16(class), pool: p}
	b.refs.Store(1)
	return b
}

// Bytes is all of the memory. Only who shares it with nobody writes to it.
func (b *Buffer) Bytes() []byte { return b.memory }

// Holds reports whether bytes lie in b.
func (b *Buffer) Holds(bytes []byte) bool {
	if len(bytes) == 0 || len(b.memory) == 0 {
		return false
	}
	at, first := uintptr(unsafe.Pointer(unsafe.SliceData(bytes))), uintptr(unsafe.Pointer(unsafe.SliceData(b.memory)))
	return first <= at && at+uintptr(len(bytes)) <= first+uintptr(len(b.memory))
}

// Retain adds one who shares b. Only who shares it already may call it.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Shared reports whether others than the caller, who is one of them, share b.
func (b *Buffer) Shared() bool { return b.refs.Load() > 1 }

// Release ends what Get or Retain began: the caller doesn't use the bytes any more.
// The last one gives the memory to the next Get.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n == 0 && b.class >= 0:
		b.pool.put(b)
	case n < 0:
		panic("bufpool: buffer released twice")
	}
}

// take returns the buffer of a class that was used last, nil if there is none.
func (p *Pool) take(class int) *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.free[class]
	n := len(list) - 1
	if n < 0 {
		return nil
	}
	b := list[n]
	list[n] = nil
	p.free[class] = list[:n]
	p.least[class] = min(p.least[class], n)
	p.idle.Add(-int64(len(b.memory)))
	return b
}

// put keeps a buffer for the next user, if there is room for it.
func (p *Pool) put(b *Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle.Load()+int64(len(b.memory)) > p.maxIdle {
		return
	}
	p.idle.Add(int64(len(b.memory)))
	p.free[b.class] = append(p.free[b.class], b)
	if !p.trims {
		p.trims = true
		time.AfterFunc(trimEvery, p.trim)
	}
}

// trim lets those go that were not used since the last time.
func (p *Pool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for class, list := range p.free {
		if unused := p.least[class]; unused > 0 {
			list = slices.Delete(list, 0, unused)
			p.idle.Add(-int64(unused * sizeOf(class)))
			p.trimmed.Add(uint64(unused * sizeOf(class)))
		}
		p.free[class], p.least[class] = list, len(list)
	}
	if p.trims = p.idle.Load() > 0; p.trims {
		time.AfterFunc(trimEvery, p.trim)
	}
}
