package pebblestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
)

// TestGetter finds that a getter answers what Get does: for keys in ascending and in
// any order, in memory and in tables, that were set, set again, deleted, or never
// there; and that what is committed later changes nothing of it.
func TestGetter(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s, _, err := Open("data", Options{FS: vfs.NewMem(), MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const keys = 500
	key := func(i int) []byte { return fmt.Appendf(nil, "k%04d", i) }
	for round := range 40 {
		var c store.Changes
		for range 60 {
			switch k := key(r.IntN(keys)); r.IntN(4) {
			case 0:
				c.Delete(k)
			case 1:
				c.DeleteRange(k, append(k, 'x'))
			default:
				c.Set(k, fmt.Appendf(nil, "%d %0*d", round, r.IntN(800), 0))
			}
		}
		if err := s.Commit(false, &c); err != nil {
			t.Fatal(err)
		}
		type answer struct {
			value string
			err   error
		}
		var want [keys]answer
		for i := range want {
			v, err := s.Get(nil, key(i))
			want[i] = answer{string(v), err}
		}
		g := s.Getter()
		var later store.Changes
		later.Set(key(r.IntN(keys)), []byte("later"))
		if err := s.Commit(false, &later); err != nil {
			t.Fatal(err)
		}
		at := 0
		for range keys {
			if at += r.IntN(4); round%2 == 1 || at >= keys {
				at = r.IntN(keys)
			}
			v, err := g.Get([]byte("before "), key(at))
			if string(v) != "before "+want[at].value || !errors.Is(err, want[at].err) {
				t.Fatalf("round %d: key %d is %.20q (%v), and %.20q (%v) by Get", round, at, v, err, want[at].value, want[at].err)
			}
		}
		g.Close()
	}
}

// TestGetterReadsBadly lets reads go wrong below a getter: it says what Get says,
// and other keys can be read still.
func TestGetterReadsBadly(t *testing.T) {
	for name, hurt := range map[string]func([]byte) error{
		"error":  func([]byte) error { return syscall.EIO },
		"damage": func(p []byte) error { p[len(p)/2] ^= 1; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			fs := &hurtFS{FS: vfs.NewMem(), hurt: hurt}
			fs.left.Store(1 << 40)
			s, _, err := Open("data", Quick(Options{FS: fs, CacheBytes: 1}))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var c store.Changes
			for i := range 200 {
				c.Set(fmt.Appendf(nil, "k%03d", i), fmt.Appendf(nil, "%0999d", i))
			}
			if err := errors.Join(s.Commit(true, &c), s.db.Flush()); err != nil {
				t.Fatal(err)
			}
			g := s.Getter()
			defer g.Close()
			if _, err := g.Get(nil, []byte("k000")); err != nil {
				t.Fatal(err)
			}
			fs.left.Store(0)
			_, err = g.Get(nil, []byte("k150"))
			_, alone := s.Get(nil, []byte("k150"))
			if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) != errors.Is(alone, store.ErrDamaged) {
				t.Errorf("a getter says: %v; Get: %v", err, alone)
			}
			fs.left.Store(1 << 40)
			if v, err := g.Get(nil, []byte("k151")); err != nil || len(v) != 999 {
				t.Errorf("afterwards: %d bytes, %v", len(v), err)
			}
		})
	}
}

// TestGetterOfClosedStore finds that a closed store has no values, and that Close
// waits for getters.
func TestGetterOfClosedStore(t *testing.T) {
	s, _, err := Open("data", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	g := s.Getter()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if _, err := g.Get(nil, []byte("a")); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	select {
	case <-closed:
		t.Fatal("closed while values are got")
	default:
	}
	g.Close()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	g = s.Getter()
	defer g.Close()
	if _, err := g.Get(nil, []byte("a")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
