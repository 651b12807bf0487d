package loop

import (
	"sync"
	"sync/atomic"
)

// Slab holds records of connections, found by number. Records stay where they
// are, so that a pointer is good as long as its connection.
type Slab[T any] struct {
	chunks atomic.Pointer[[]*chunk[T]] // replaced when it grows; read without mu
	mu     sync.Mutex
	free   []int32
	used   int32 // numbers below have been given out at least once
}

// chunkRecords of 72 bytes, as epoll has them, are nine pages of the runtime, and
// nothing is left over. 512 of them would take the place of 569.
const chunkRecords = 1024

type chunk[T any] [chunkRecords]T

// At returns the record with a number.
func (s *Slab[T]) At(id int32) *T {
	return &(*s.chunks.Load())[id/chunkRecords][id%chunkRecords]
}

// Get returns an unused record and its number. Safe from any goroutine.
func (s *Slab[T]) Get() (int32, *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id, s.At(id)
	}
	id := s.used
	s.used++
	var chunks []*chunk[T]
	if p := s.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(id/chunkRecords) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new(chunk[T]))
		s.chunks.Store(&grown)
	}
	return id, s.At(id)
}

// Put takes a record back, as it is. Safe from any goroutine.
func (s *Slab[T]) Put(id int32) {
	s.mu.Lock()
	s.free = append(s.free, id)
	s.mu.Unlock()
}

// All calls f for each record that was ever given out. The caller is the only
// one who uses the slab.
func (s *Slab[T]) All(f func(*T)) {
	for id := range s.used {
		f(s.At(id))
	}
}
