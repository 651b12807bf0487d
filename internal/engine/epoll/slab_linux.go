//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"sync"
	"sync/atomic"
)

// slab holds the connection records of an engine, found by number. Records
// stay where they are, so that a *conn is good as long as its connection.
type slab struct {
	chunks atomic.Pointer[[]*chunk] // replaced when it grows; read without mu
	mu     sync.Mutex
	free   []int32
	used   int32 // numbers below have been given out at least once
}

// chunkConns records of 64 bytes are 32 KiB. The next smaller power of two would
// get 18 KiB for 16, for the runtime puts a word before what it manages as a
// small object.
const chunkConns = 512

type chunk [chunkConns]conn

func (s *slab) at(id int32) *conn {
	return &(*s.chunks.Load())[id/chunkConns][id%chunkConns]
}

// get returns an unused record with its number set.
func (s *slab) get() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return s.at(id)
	}
	id := s.used
	s.used++
	var chunks []*chunk
	if p := s.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(id/chunkConns) == len(chunks) {
		grown := append(chunks[:len(chunks):len(chunks)], new(chunk))
		s.chunks.Store(&grown)
	}
	c := s.at(id)
	c.id = id
	return c
}

// put takes a record back.
func (s *slab) put(c *conn) {
	*c = conn{id: c.id, generation: c.generation + 1, flags: dead}
	s.mu.Lock()
	s.free = append(s.free, c.id)
	s.mu.Unlock()
}

// all calls f for each record that was ever given out. The caller is the only
// one who uses the slab.
func (s *slab) all(f func(*conn)) {
	for id := range s.used {
		f(s.at(id))
	}
}
