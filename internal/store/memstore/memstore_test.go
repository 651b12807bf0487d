package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/store"
	"midge/internal/store/memstore"
	"midge/internal/store/storetest"
)

func TestBackend(t *testing.T) {
	storetest.Run(t, false, func(*testing.T) storetest.Open {
		return func(*testing.T) store.Backend { return memstore.New() }
	})
}

// TestLate runs the suite on a store that answers late.
func TestLate(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	storetest.Run(t, false, func(*testing.T) storetest.Open {
		return func(*testing.T) store.Backend {
			return storetest.NewLate(memstore.New(), storetest.Delays(seed, 20*time.Microsecond))
		}
	})
}

// TestGate commits behind a gate.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gate storetest.Gate
		s := memstore.New()
		late := storetest.NewLate(s, gate.Pause)
		there := func() bool {
			_, err := s.Get(nil, []byte("a"))
			return err == nil
		}
		gate.Shut()
		answered := make(chan error, 1)
		go func() {
			var c store.Changes
			c.Set([]byte("a"), []byte("1"))
			answered <- late.Commit(true, &c)
		}()
		synctest.Wait()
		if len(answered) > 0 || there() {
			t.Error("committed although the gate is shut")
		}
		gate.Open()
		if err := <-answered; err != nil || !there() {
			t.Errorf("not committed although the gate is open: %v", err)
		}
		gate.Open() // again: nothing
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
