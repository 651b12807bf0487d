package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"midge/internal/store"
	"midge/internal/store/memstore"
	"midge/internal/store/storetest"
)

func TestBackend(t *testing.T) {
	storetest.Run(t, false, func(*testing.T) storetest.Open {
		return func(*testing.T) store.Backend { return memstore.New() }
	})
}

// TestManyRuns fills more than one run in an order of chance, and empties them
// again.
func TestManyRuns(t *testing.T) {
	s := memstore.New()
	var c store.Changes
	const n = 5000
	for _, i := range rand.Perm(n) {
		c.Set(fmt.Appendf(nil, "%05d", i), nil)
	}
	if err := s.Commit(true, &c); err != nil {
		t.Fatal(err)
	}
	if got := len(storetest.All(t, s)); got != n {
		t.Fatalf("%d keys, want %d", got, n)
	}
	c.Reset()
	c.DeleteRange([]byte("00100"), []byte("04900"))
	if err := s.Commit(true, &c); err != nil {
		t.Fatal(err)
	}
	if got := len(storetest.All(t, s)); got != 200 {
		t.Fatalf("%d keys, want 200", got)
	}
	c.Reset()
	for i := range n {
		c.Delete(fmt.Appendf(nil, "%05d", i))
	}
	if err := s.Commit(true, &c); err != nil {
		t.Fatal(err)
	}
	if got := storetest.All(t, s); len(got) != 0 {
		t.Fatalf("left: %q", got)
	}
}
