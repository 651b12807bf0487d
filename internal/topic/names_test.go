package topic

import (
	"maps"
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
	names.Walk(filter, func(name []byte, v int) bool {
		if _, twice := got[string(name)]; twice {
			t.Fatalf("Walk(%q) yielded %q twice", filter, name)
		}
		got[string(name)] = v
		return true
	})
	if !maps.Equal(got, want) {
		t.Fatalf("Walk(%q) = %v, want %v", filter, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestNamesWalkStops(t *testing.T) {
	var names Names[int]
	for _, name := range []string{"a", "a/b", "a/c", "b/c/d"} {
		names.Set([]byte(name), 1)
	}
	for _, filter := range []string{"#", "+/#", "a/+"} {
		calls := 0
		names.Walk(filter, func([]byte, int) bool { calls++; return false })
		if calls != 1 {
			t.Errorf("Walk(%q) went on to %d names after false", filter, calls)
		}
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
