package topic

const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
)

// slab hands out elements by number and uses released ones again. It grows by
// chunks that never move: nothing is copied, and an address stays good. Number
// 0 is never handed out. When the last element is released the memory goes.
type slab[T any] struct {
	chunks []*[chunkSize]T
	free   []uint32
	next   uint32 // the lowest number that was never handed out
	live   int
}

func (s *slab[T]) at(id uint32) *T { return &s.chunks[id>>chunkBits][id&(chunkSize-1)] }

// alloc returns the number of an element with the zero value.
func (s *slab[T]) alloc() uint32 {
	s.live++
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	s.next = max(s.next, 1)
	id := s.next
	s.next++
	s.reach(id)
	return id
}

// reach makes at(id) usable.
func (s *slab[T]) reach(id uint32) {
	for int(id>>chunkBits) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSize]T))
	}
}

// cut gives back memory of elements from a number on, but not all of it.
func (s *slab[T]) cut(from uint32) {
	if left := int(from>>chunkBits) + 2; left < len(s.chunks) {
		s.chunks[left] = nil
		s.chunks = s.chunks[:left]
	}
}

func (s *slab[T]) release(id uint32) {
	var zero T
	*s.at(id) = zero
	s.free = append(s.free, id)
	s.live--
	if s.live == 0 {
		*s = slab[T]{}
	}
}
