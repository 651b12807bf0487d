package loop

import (
	"sync"
	"testing"
)

// TestSlab proves that records stay where they are while others come, that
// nobody else gets them, and that they are used again.
func TestSlab(t *testing.T) {
	type record struct{ id, owner int32 }
	var s Slab[record]
	const goroutines, each = 4, 3 * chunkRecords
	ids := make([][]int32, goroutines)
	var running sync.WaitGroup
	for g := range int32(goroutines) {
		running.Go(func() {
			for range each {
				id, r := s.Get()
				*r = record{id, g}
				ids[g] = append(ids[g], id)
				if s.At(id) != r {
					t.Errorf("record %d is not found", id)
					return
				}
			}
		})
	}
	running.Wait()
	n := 0
	s.All(func(*record) { n++ })
	if n != goroutines*each {
		t.Errorf("All has %d records, want %d", n, goroutines*each)
	}
	for g, list := range ids {
		for _, id := range list {
			if want := (record{id, int32(g)}); *s.At(id) != want {
				t.Fatalf("record is %v, want %v", *s.At(id), want)
			}
			s.Put(id)
		}
	}
	for range goroutines * each {
		if id, _ := s.Get(); id >= goroutines*each {
			t.Fatalf("record %d is new, although others are free", id)
		}
	}
}
