// Package storetest is the suite of tests that every store.Backend passes, and
// what other tests of stores have in common.
//
// Files, from the bottom up: digest.go, late.go, storetest.go.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"midge/internal/store"
)

// Open opens a backend. When the same test calls it again, it opens what the
// backend before left, which is closed by then.
type Open func(t *testing.T) store.Backend

// Run runs the tests. fresh begins a new, empty place and returns how to open
// a backend there. keeps says that what was committed survives Close.
func Run(t *testing.T, keeps bool, fresh func(t *testing.T) Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"Order", order},
		{"Get", get},
		{"Delete", deletes},
		{"DeleteOnce", deleteOnce},
		{"DeleteRange", deleteRange},
		{"Lists", lists},
		{"Bounds", bounds},
		{"ScanStops", scanStops},
		{"Borrowed", borrowed},
		{"Readers", readers},
		{"Model", model},
		{"Closed", closed},
	}
	if keeps {
		tests = append(tests, []struct {
			name string
			run  func(t *testing.T, open Open)
		}{{"Reopen", reopen}, {"ReopenModel", reopenModel}}...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

// All is everything in a backend, as "key=value", in the order of Scan.
func All(t *testing.T, b store.Backend) []string {
	t.Helper()
	return scan(t, b, nil, []byte{0xff, 0xff, 0xff})
}

func scan(t *testing.T, b store.Backend, from, to []byte) (all []string) {
	t.Helper()
	err := b.Scan(from, to, func(key, value []byte) error {
		all = append(all, string(key)+"="+string(value))
		return nil
	})
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	return all
}

func commit(t *testing.T, b store.Backend, sync bool, lists ...*store.Changes) {
	t.Helper()
	if err := b.Commit(sync, lists...); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func shut(t *testing.T, b store.Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func sets(pairs ...string) *store.Changes {
	c := &store.Changes{}
	for i := 0; i < len(pairs); i += 2 {
		c.Set([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	return c
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func order(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	same(t, All(t, b))
	commit(t, b, true, sets("b", "2", "a\xff", "3", "a", "1", "a\x00", "0", "\x00", "z", "\xfe", ""))
	same(t, All(t, b), "\x00=z", "a=1", "a\x00=0", "a\xff=3", "b=2", "\xfe=")
}

func get(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	commit(t, b, false, sets("a", "1", "empty", ""))
	if v, err := b.Get([]byte("x"), []byte("a")); err != nil || string(v) != "x1" {
		t.Fatalf("got %q, %v; want the value behind what was there", v, err)
	}
	if v, err := b.Get(nil, []byte("empty")); err != nil || len(v) != 0 {
		t.Fatalf("got %q, %v; want no bytes", v, err)
	}
	if _, err := b.Get(nil, []byte("b")); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	commit(t, b, true, sets("a", "2"))
	if v, err := b.Get(nil, []byte("a")); err != nil || string(v) != "2" {
		t.Fatalf("got %q, %v; want the newer value", v, err)
	}
}

func deletes(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	commit(t, b, false, sets("a", "1", "b", "1", "b", "2", "c", "1"))
	c := &store.Changes{}
	c.Delete([]byte("b"))
	c.Delete([]byte("none"))
	commit(t, b, true, c)
	same(t, All(t, b), "a=1", "c=1")
}

func deleteOnce(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	for i := range 3 {
		commit(t, b, false, sets("a", strconv.Itoa(i), "b", "1"))
		c := &store.Changes{}
		c.DeleteOnce([]byte("a"))
		c.Delete([]byte("b"))
		commit(t, b, true, c)
		same(t, All(t, b))
	}
	c := sets("a", "1")
	c.DeleteOnce([]byte("a")) // in the list that sets it
	commit(t, b, true, c)
	same(t, All(t, b))
}

func deleteRange(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	commit(t, b, false, sets("a", "1", "b", "1", "b1", "1", "c", "1", "d", "1"))
	c := &store.Changes{}
	c.DeleteRange([]byte("b"), []byte("c"))
	c.Set([]byte("b2"), []byte("new")) // after the range went
	c.DeleteRange([]byte("x"), []byte("y"))
	commit(t, b, true, c)
	same(t, All(t, b), "a=1", "b2=new", "c=1", "d=1")
}

// lists proves that the lists of a commit are applied in their order, that
// they may be empty, and that there may be none.
func lists(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	gone := &store.Changes{}
	gone.Delete([]byte("a"))
	commit(t, b, false, sets("a", "1"), gone, &store.Changes{}, sets("a", "2", "b", "1"))
	commit(t, b, true)
	commit(t, b, false)
	commit(t, b, true, &store.Changes{})
	same(t, All(t, b), "a=2", "b=1")
}

func bounds(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	commit(t, b, true, sets("a", "1", "b", "1", "c", "1"))
	same(t, scan(t, b, []byte("a"), []byte("c")), "a=1", "b=1")
	same(t, scan(t, b, []byte("a\x00"), []byte("b\x00")), "b=1")
	same(t, scan(t, b, []byte("d"), []byte("e")))
	same(t, scan(t, b, []byte("b"), []byte("b")))
}

func scanStops(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	commit(t, b, true, sets("a", "1", "b", "1", "c", "1"))
	enough, n := errors.New("enough"), 0
	err := b.Scan(nil, []byte("z"), func(_, _ []byte) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Fatalf("got %v after %d keys, want the error of yield after 2", err, n)
	}
}

// borrowed proves that the store keeps nothing of the lists that it was given,
// which are used again.
func borrowed(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	var c store.Changes
	for i := range 3 {
		c.Reset()
		c.Set(fmt.Appendf(nil, "key %d", i), fmt.Appendf(nil, "value %d", i))
		commit(t, b, i == 2, &c)
	}
	same(t, All(t, b), "key 0=value 0", "key 1=value 1", "key 2=value 2")
}

// readers proves that Get and Scan are right during Commit: the two keys of a
// commit never differ for longer than the two calls of Get, and keys that no
// commit touches are always there.
func readers(t *testing.T, open Open) {
	b := open(t)
	defer shut(t, b)
	var c store.Changes
	for i := range 500 {
		c.Set(fmt.Appendf(nil, "fixed %03d", i), []byte("same"))
	}
	c.Set([]byte("count"), []byte("0"))
	commit(t, b, true, &c)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			last := 0
			for stop := false; !stop; {
				select {
				case <-done:
					stop = true // once more
				default:
				}
				v, err := b.Get(nil, []byte("count"))
				n, _ := strconv.Atoi(string(v))
				if err != nil || n < last {
					t.Errorf("got %q, %v after %d", v, err, last)
					return
				}
				last, n = n, 0
				err = b.Scan([]byte("fixed"), []byte("g"), func(_, value []byte) error {
					if string(value) == "same" {
						n++
					}
					return nil
				})
				if err != nil || n != 500 {
					t.Errorf("scan: %d keys, %v; want 500", n, err)
					return
				}
			}
		})
	}
	for i := range 200 {
		c.Reset()
		c.Set([]byte("count"), []byte(strconv.Itoa(i)))
		c.Set(fmt.Appendf(nil, "fixed!%03d", i), []byte("other"))
		commit(t, b, false, &c)
	}
	close(done)
	wg.Wait()
}

func closed(t *testing.T, open Open) {
	b := open(t)
	commit(t, b, true, sets("a", "1"))
	shut(t, b)
	if err := b.Commit(true, sets("a", "2")); err == nil {
		t.Error("commit after close: no error")
	}
	if _, err := b.Get(nil, []byte("a")); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("get after close: %v", err)
	}
	if err := b.Scan(nil, []byte("z"), func(_, _ []byte) error { return nil }); err == nil {
		t.Error("scan after close: no error")
	}
	shut(t, b) // again: nothing
}

func reopen(t *testing.T, open Open) {
	b := open(t)
	c := sets("gone", "1")
	commit(t, b, false, sets("a", "1"), c)
	c = &store.Changes{}
	c.DeleteOnce([]byte("gone"))
	commit(t, b, true, c)
	shut(t, b)
	b = open(t)
	same(t, All(t, b), "a=1")
	commit(t, b, false, sets("b", "2")) // Close keeps what no commit synced
	shut(t, b)
	b = open(t)
	same(t, All(t, b), "a=1", "b=2")
	shut(t, b)
}

// model compares a backend with a map through many commits of chance.
func model(t *testing.T, open Open) { against(t, open, false) }

// reopenModel does so while the backend is closed and opened again.
func reopenModel(t *testing.T, open Open) { against(t, open, true) }

func against(t *testing.T, open Open, again bool) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	b := open(t)
	want := map[string]string{}
	var c store.Changes
	for round := range 300 {
		c.Reset()
		for range r.IntN(20) {
			change(r, &c, want, round)
		}
		commit(t, b, r.IntN(4) == 0, &c)
		if again && r.IntN(30) == 0 {
			shut(t, b)
			b = open(t)
		}
		if round%20 == 0 {
			equal(t, b, want)
		}
	}
	equal(t, b, want)
	shut(t, b)
}

// change adds a change of chance to the list and does it to the map. Keys that
// begin with "once" are set once and removed with DeleteOnce.
func change(r *rand.Rand, c *store.Changes, want map[string]string, round int) {
	key := fmt.Sprintf("key %04d", r.IntN(2000))
	once := fmt.Sprintf("once %04d", r.IntN(500))
	switch n := r.IntN(20); {
	case n < 10:
		value := string(bytes.Repeat([]byte{byte('a' + round%26)}, r.IntN(300)))
		c.Set([]byte(key), []byte(value))
		want[key] = value
	case n < 13:
		c.Delete([]byte(key))
		delete(want, key)
	case n < 19:
		if _, there := want[once]; there {
			c.DeleteOnce([]byte(once))
			delete(want, once)
			return
		}
		c.Set([]byte(once), []byte(key))
		want[once] = key
	default:
		to := key + "9"
		if r.IntN(4) == 0 {
			to = fmt.Sprintf("key %04d", r.IntN(2000))
		}
		if to <= key {
			return
		}
		c.DeleteRange([]byte(key), []byte(to))
		for k := range want {
			if k >= key && k < to {
				delete(want, k)
			}
		}
	}
}

func equal(t *testing.T, b store.Backend, want map[string]string) {
	t.Helper()
	all := make([]string, 0, len(want))
	for k, v := range want {
		all = append(all, k+"="+v)
	}
	slices.SortFunc(all, func(a, b string) int {
		ka, _, _ := bytes.Cut([]byte(a), []byte("="))
		kb, _, _ := bytes.Cut([]byte(b), []byte("="))
		return bytes.Compare(ka, kb)
	})
	if got := All(t, b); !slices.Equal(got, all) {
		t.Fatalf("the store holds %d keys, want %d; they differ", len(got), len(all))
	}
}
