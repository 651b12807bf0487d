package topic

import (
	"maps"
	"math"
	"slices"
	"testing"
)

func TestNamesAgainstOracle(t *testing.T) {
	r := newRand(t)
	var names Names[int]
	want := map[string]int{}
	for step := range 20000 {
		name := randomName(r)
		old, known := want[name]
		if grow := step/2500%2 == 0; r.IntN(10) < 2 != grow {
			if got, replaced := names.Set([]byte(name), step); got != old || replaced != known {
				t.Fatalf("step %d: Set(%q) = %d, %v, want %d, %v", step, name, got, replaced, old, known)
			}
			want[name] = step
		} else {
			if got, ok := names.Delete([]byte(name)); got != old || ok != known {
				t.Fatalf("step %d: Delete(%q) = %d, %v, want %d, %v", step, name, got, ok, old, known)
			}
			delete(want, name)
		}
		if names.Len() != len(want) {
			t.Fatalf("step %d: Len %d, want %d", step, names.Len(), len(want))
		}
		name = randomName(r)
		old, known = want[name]
		if got, ok := names.Get([]byte(name)); got != old || ok != known {
			t.Fatalf("step %d: Get(%q) = %d, %v, want %d, %v", step, name, got, ok, old, known)
		}
		if step%20 == 0 {
			checkWalk(t, &names, want, randomFilter(r))
		}
	}
	for name := range want {
		names.Delete([]byte(name))
	}
	if names.nodes.chunks != nil || names.links.chunks != nil {
		t.Error("memory is kept without names")
	}
}

func checkWalk(t *testing.T, names *Names[int], all map[string]int, filter string) {
	t.Helper()
	want := map[string]int{}
	for name, v := range all {
		if Match(filter, name) {
			want[name] = v
		}
	}
	got := map[string]int{}
	byValue := map[int]string{}
	for name, v := range all {
		byValue[v] = name
	}
	names.Step(NewCursor(filter), math.MaxInt, func(v int) bool {
		name := byValue[v]
		if _, twice := got[name]; twice {
			t.Fatalf("%q yielded %q twice", filter, name)
		}
		got[name] = v
		return true
	})
	if !maps.Equal(got, want) {
		t.Fatalf("%q yields %v, want %v", filter, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestCursorStops(t *testing.T) {
	var names Names[int]
	for _, name := range []string{"a", "a/b", "a/c", "b/c/d"} {
		names.Set([]byte(name), 1)
	}
	for _, filter := range []string{"#", "+/#", "a/+"} {
		calls, c := 0, NewCursor(filter)
		names.Step(c, math.MaxInt, func(int) bool { calls++; return false })
		if calls != 1 {
			t.Errorf("%q went on to %d names after false", filter, calls)
		}
		names.Leave(c)
	}
}

func TestNamesPrunes(t *testing.T) {
	var names Names[int]
	names.Set([]byte("a"), 1)
	before := names.nodes.live
	for _, name := range []string{"a/b/c", "//", "x", "a/0123456789abcdefghij"} {
		names.Set([]byte(name), 1)
		names.Delete([]byte(name))
		if names.nodes.live != before {
			t.Errorf("after %q: %d nodes, want %d", name, names.nodes.live, before)
		}
	}
}

// TestCursor walks with many cursors while names come and go, and compares each
// with what was there all the time.
func TestCursor(t *testing.T) {
	r := newRand(t)
	type walk struct {
		filter string
		c      *Cursor
		must   map[string]bool // there since it began
		got    map[string]bool
	}
	var names Names[string]
	there := map[string]bool{}
	var walks []*walk
	for step := range 30000 {
		name := randomName(r)
		if grow := step/1500%2 == 0; r.IntN(10) < 3 != grow {
			names.Set([]byte(name), name)
			there[name] = true
		} else {
			names.Delete([]byte(name))
			delete(there, name)
			for _, w := range walks {
				delete(w.must, name)
			}
		}
		if len(walks) < 5 && r.IntN(20) == 0 {
			w := &walk{filter: randomFilter(r), must: map[string]bool{}, got: map[string]bool{}}
			w.c = NewCursor(w.filter)
			for name := range there {
				if Match(w.filter, name) {
					w.must[name] = true
				}
			}
			walks = append(walks, w)
		}
		for i := len(walks) - 1; i >= 0; i-- {
			w := walks[i]
			n := 1 + r.IntN(4)
			looked, more := names.Step(w.c, n, func(name string) bool {
				if w.got[name] && there[name] && w.must[name] {
					t.Fatalf("step %d: %q yielded %q twice", step, w.filter, name)
				}
				if !Match(w.filter, name) || !there[name] {
					t.Fatalf("step %d: %q yielded %q", step, w.filter, name)
				}
				w.got[name] = true
				return r.IntN(8) > 0
			})
			if looked > n {
				t.Fatalf("step %d: looked at %d nodes, %d at most", step, looked, n)
			}
			if more && r.IntN(200) > 0 {
				continue
			}
			if more {
				names.Leave(w.c)
			} else {
				for name := range w.must {
					if !w.got[name] {
						t.Fatalf("step %d: %q did not yield %q", step, w.filter, name)
					}
				}
			}
			walks = append(walks[:i], walks[i+1:]...)
		}
	}
	for name := range there {
		names.Delete([]byte(name))
	}
	for _, w := range walks {
		names.Leave(w.c)
	}
	if names.nodes.chunks != nil || len(names.held) > 0 {
		t.Error("memory is kept without names")
	}
}
