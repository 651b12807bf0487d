package topic

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// newRand prints its seed, which repeats a failure.
func newRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// levels are few, so that random names meet random filters; one is too long for its node.
var levels = []string{"", "a", "b", "$x", "ab", "a level of more than inline bytes"}

func randomName(r *rand.Rand) string {
	maxLevels := 4
	if r.IntN(4) == 0 {
		maxLevels = 9
	}
	parts := make([]string, 1+r.IntN(maxLevels))
	for i := range parts {
		parts[i] = levels[r.IntN(len(levels))]
	}
	if name := strings.Join(parts, "/"); name != "" {
		return name
	}
	return "a"
}

func randomFilter(r *rand.Rand) string {
	parts := strings.Split(randomName(r), "/")
	for i := range parts {
		if r.IntN(3) == 0 {
			parts[i] = "+"
		}
	}
	if r.IntN(3) == 0 {
		parts[len(parts)-1] = "#"
	}
	return strings.Join(parts, "/")
}

// entry is a value of the random trees: unique, and knows its filter.
type entry struct {
	filter string
	ref    Ref
}

func TestTreeAgainstOracle(t *testing.T) {
	r := newRand(t)
	var tree Tree[*entry]
	var all []*entry
	for step := range 20000 {
		// Grow, then shrink to nothing, four times over.
		if grow := step/2500%2 == 0; len(all) == 0 || r.IntN(10) < 3 != grow {
			e := &entry{filter: randomFilter(r)}
			e.ref = tree.Add(e.filter, e)
			all = append(all, e)
		} else {
			i := r.IntN(len(all))
			e := all[i]
			if got := tree.Remove(e.ref); got != e {
				t.Fatalf("step %d: Remove returned %+v, want %+v", step, got, e)
			}
			all = slices.Delete(all, i, i+1)
		}
		if tree.Len() != len(all) {
			t.Fatalf("step %d: Len %d, want %d", step, tree.Len(), len(all))
		}
		if step%20 == 0 {
			checkMatch(t, &tree, all, randomName(r))
			checkFind(t, &tree, all, randomFilter(r))
		}
		if step%100 == 0 {
			checkNodes(t, &tree)
		}
	}
	for _, e := range all {
		tree.Remove(e.ref)
	}
	if tree.nodes.live != 0 || tree.nodes.chunks != nil || tree.values.chunks != nil {
		t.Errorf("the empty tree keeps %d nodes", tree.nodes.live)
	}
}

func checkMatch(t *testing.T, tree *Tree[*entry], all []*entry, name string) {
	t.Helper()
	got := map[*entry]int{}
	tree.Match([]byte(name), func(e *entry) { got[e]++ })
	for _, e := range all {
		want := 0
		if Match(e.filter, name) {
			want = 1
		}
		if got[e] != want {
			t.Fatalf("%q against %q: yielded %d times, want %d", name, e.filter, got[e], want)
		}
		delete(got, e)
	}
	if len(got) != 0 {
		t.Fatalf("%q: %d values that were removed", name, len(got))
	}
}

// checkNodes looks at each node of a tree: what it knows of its children, and
// whether it must be there.
func checkNodes(t *testing.T, tree *Tree[*entry]) {
	t.Helper()
	s := &tree.nodes
	children, mixed := map[uint32]uint32{}, map[uint32]uint32{}
	plus := map[uint32]bool{}
	for id := uint32(root); id < s.next; id++ {
		if n := s.at(id); n.plus != 0 {
			plus[n.plus] = true
		}
	}
	live := 0
	for id := uint32(root); id < s.next; id++ {
		n := s.at(id)
		if id == root || n.parent != 0 {
			live++
		}
		if n.parent == 0 || plus[id] {
			continue
		}
		children[n.parent]++
		mixed[n.parent] ^= id
		if level, _, _ := cut(s.text(n)); s.find(n.parent, level) != id {
			t.Fatalf("node %d, %q under %d, isn't found", id, s.text(n), n.parent)
		}
		if n.values|n.multi|n.plus == 0 && n.children < 2 {
			t.Fatalf("node %d has %d children and nothing else", id, n.children)
		}
	}
	for id := uint32(root); id < s.next; id++ {
		if n := s.at(id); n.children != children[id] || n.mixed != mixed[id] {
			t.Fatalf("node %d has %d children, %x; counted %d, %x", id, n.children, n.mixed, children[id], mixed[id])
		}
	}
	if live != s.live && s.live != 0 {
		t.Fatalf("%d nodes, want %d", live, s.live)
	}
}

func checkFind(t *testing.T, tree *Tree[*entry], all []*entry, filter string) {
	t.Helper()
	got := 0
	tree.Find(filter, func(ref Ref, e *entry) bool {
		if e.filter != filter || e.ref != ref {
			t.Fatalf("Find(%q) yielded %d, %+v", filter, ref, e)
		}
		got++
		return true
	})
	want := 0
	for _, e := range all {
		if e.filter == filter {
			want++
		}
	}
	if got != want {
		t.Fatalf("Find(%q) yielded %d values, want %d", filter, got, want)
	}
}

func TestTreePrunes(t *testing.T) {
	var tree Tree[int]
	tree.Add("a", 1)
	before := tree.nodes.live
	for _, filter := range []string{"a/b/c", "a/+/c/#", "+/+/+", "#", "/", "a", "a/0123456789abcdefghijkl/x"} {
		tree.Remove(tree.Add(filter, 2))
		if tree.nodes.live != before || tree.nodes.long.live != 0 {
			t.Errorf("after %q: %d nodes, want %d", filter, tree.nodes.live, before)
		}
	}
}

// Levels share a node as long as nothing branches off between them, whatever the
// order in which filters come and go.
func TestTreePaths(t *testing.T) {
	for _, tt := range []struct {
		filters string
		nodes   int // without the root
	}{
		{"a/b/c", 1},
		{"a/b/c a/b/c", 1},
		{"a/b/c a/b/d", 3},
		{"a/b/c a", 2},
		{"a/b/c a/#", 2},
		{"a/b/c a/b/#", 2},
		{"a/b/c a/b/c/#", 1},
		{"a/b/c a/+/c", 4},
		{"a/b/c ab", 2},
		{"/a /b", 3},
		{"/ //", 2},
		{"// /a", 3},
		{"+/a/b", 2},
		{"a/+", 2},
		{"a/0123456789abcdef/b a/0123456789abcdef/c", 3},
		{"#", 0},
	} {
		filters := strings.Fields(tt.filters)
		for range 2 {
			var tree Tree[*entry]
			var refs []Ref
			for _, f := range filters {
				refs = append(refs, tree.Add(f, &entry{filter: f}))
			}
			if got := tree.nodes.live - 1; got != tt.nodes {
				t.Errorf("%q: %d nodes, want %d", filters, got, tt.nodes)
			}
			alone := tree.Add("x", &entry{})
			for _, ref := range refs {
				tree.Remove(ref)
				checkNodes(t, &tree)
			}
			if got := tree.nodes.live - 1; got != 1 || tree.nodes.long.live != 0 {
				t.Errorf("%q: %d nodes left, want 1", filters, got)
			}
			tree.Remove(alone)
			slices.Reverse(filters)
		}
	}
}

// Values of "#" hang on the root, which must outlive all other nodes.
func TestTreeKeepsTheRootForHash(t *testing.T) {
	var tree Tree[int]
	tree.Add("#", 1)
	tree.Remove(tree.Add("#", 2))
	tree.Remove(tree.Add("a", 4))
	sum := 0
	tree.Match([]byte("b"), func(v int) { sum += v })
	if sum != 1 {
		t.Errorf("matched the sum %d, want 1", sum)
	}
}

func TestTreeRemoveTwicePanics(t *testing.T) {
	var tree Tree[int]
	tree.Add("a", 1)
	ref := tree.Add("a", 2)
	tree.Remove(ref)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	tree.Remove(ref)
}

// One subscription takes the depth of its filter in nodes, not the values that are there.
func TestTreeManyValuesOfOneFilter(t *testing.T) {
	const n = 100000
	var tree Tree[int]
	refs := make([]Ref, n)
	for i := range refs {
		refs[i] = tree.Add("one/filter", i)
	}
	r := newRand(t)
	r.Shuffle(n, func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	for _, ref := range refs[:n-1] {
		tree.Remove(ref)
	}
	found := 0
	tree.Match([]byte("one/filter"), func(int) { found++ })
	if found != 1 {
		t.Errorf("%d values left, want 1", found)
	}
}

func TestTreeFindMayRemove(t *testing.T) {
	var tree Tree[int]
	for i := range 10 {
		tree.Add("a/#", i)
	}
	tree.Find("a/#", func(ref Ref, _ int) bool { tree.Remove(ref); return true })
	if tree.Len() != 0 {
		t.Errorf("%d values left", tree.Len())
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var tree Tree[*entry]
	for _, f := range []string{"a/+/c", "a/b/c", "#", "+/b/#", "a/b/c/0123456789abcdef"} {
		tree.Add(f, &entry{})
	}
	name := []byte("a/b/c")
	n := 0
	if a := testing.AllocsPerRun(100, func() { tree.Match(name, func(*entry) { n++ }) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
	if n != 4*101 {
		t.Errorf("%d matches", n)
	}
	if a := testing.AllocsPerRun(100, func() { Match("a/+/c/#", "a/b/c") }); a != 0 {
		t.Errorf("Match: %v allocations", a)
	}
}

// The budget of an idle client: 90 bytes in the tree for one subscription.
func TestTreeMemory(t *testing.T) {
	const n = 200000
	filters := make([]string, n)
	for i := range filters {
		filters[i] = fmt.Sprintf("dev/%08d/cmd", i)
	}
	v := new(entry)
	before := heap()
	var tree Tree[*entry]
	for _, f := range filters {
		tree.Add(f, v)
	}
	each := float64(heap()-before) / n
	t.Logf("%.1f bytes for each subscription", each)
	if each > 90 {
		t.Errorf("%.1f bytes for each subscription, the budget is 90", each)
	}
	runtime.KeepAlive(tree)
	runtime.KeepAlive(filters)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
