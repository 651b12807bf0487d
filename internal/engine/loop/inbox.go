package loop

import (
	"sync"
	"sync/atomic"
)

// note asks a thread to give a shard a turn.
type note struct {
	s     *Shard
	token bool // and brings its token
}

// inbox is what other threads and goroutines want of a thread, and whether it
// must be woken for that.
type inbox struct {
	asleep atomic.Bool  // the thread waits, or is about to
	notes  atomic.Int32 // len(list)
	mu     sync.Mutex   // guards list
	list   []note
	spare  []note // becomes list; the thread's own
}

// put leaves a note, and reports whether the caller must wake the thread.
//
// It sets notes and then reads asleep; the thread sets asleep and then reads
// notes. Atomics are sequentially consistent, so at least one of them sees the
// other: either the thread does not go to sleep, or the caller wakes it.
func (b *inbox) put(n note) (wake bool) {
	b.mu.Lock()
	b.list = append(b.list, n)
	b.notes.Store(int32(len(b.list)))
	b.mu.Unlock()
	return b.asleep.Load() && b.asleep.CompareAndSwap(true, false)
}

// empty reports whether there is no note.
func (b *inbox) empty() bool { return b.notes.Load() == 0 }

// take returns the notes. The thread gives them back to finish.
func (b *inbox) take() []note {
	b.mu.Lock()
	defer b.mu.Unlock()
	notes := b.list
	b.list = b.spare[:0]
	b.notes.Store(0)
	return notes
}

// finish keeps the memory of notes that have been carried out.
func (b *inbox) finish(notes []note) {
	clear(notes)
	b.spare = notes
}
