package topic

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// million is a tree of a million filters of fleets and devices: 90 % exact, 8 %
// with "+", 2 % with "#".
var million = sync.OnceValue(func() *Tree[*entry] {
	tree, v := new(Tree[*entry]), new(entry)
	for i := range 1_000_000 {
		tree.Add(millionth(i), v)
	}
	return tree
})

func millionth(i int) string {
	switch {
	case i%50 == 0:
		return fmt.Sprintf("fleet/%d/dev/%d/#", i%100, i)
	case i%25 == 1:
		return fmt.Sprintf("fleet/+/dev/%d/state", i)
	case i%25 == 2:
		return fmt.Sprintf("fleet/%d/dev/%d/+", i%100, i)
	}
	return fmt.Sprintf("fleet/%d/dev/%d/cmd", i%100, i)
}

func BenchmarkMatch(b *testing.B) {
	tree := million()
	r := rand.New(rand.NewPCG(1, 1))
	names := make([][]byte, 1<<16)
	for i := range names {
		id := r.IntN(1_000_000)
		names[i] = fmt.Appendf(nil, "fleet/%d/dev/%d/%s", id%100, id, [...]string{"cmd", "state"}[i%2])
	}
	b.Run("filters=1M/name=random", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for i := 0; b.Loop(); i++ {
			tree.Match(names[i&(len(names)-1)], func(*entry) { n++ })
		}
		b.ReportMetric(float64(n)/float64(b.N), "matches/op")
	})
	b.Run("filters=1M/name=same", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			tree.Match(names[0], func(*entry) { n++ })
		}
	})
}

func BenchmarkAddRemove(b *testing.B) {
	tree := million()
	filters := make([]string, 1<<16)
	for i := range filters {
		filters[i] = fmt.Sprintf("new/%d/cmd", i)
	}
	v := new(entry)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tree.Remove(tree.Add(filters[i&(len(filters)-1)], v))
	}
}

// BenchmarkMemory reports what a million filters cost in the tree.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(int) string
	}{
		{"dev", func(i int) string { return fmt.Sprintf("dev/%08d/cmd", i) }},
		{"uuid", func(i int) string { return fmt.Sprintf("dev/%08d-0000-0000-0000-0123456789ab/cmd", i) }},
		{"mix", millionth},
	} {
		b.Run("filter="+c.name, func(b *testing.B) {
			v := new(entry)
			for b.Loop() {
				before := heap()
				var tree Tree[*entry]
				for i := range 1_000_000 {
					tree.Add(c.make(i), v)
				}
				b.ReportMetric(float64(heap()-before)/1e6, "B/filter")
				tree.Match([]byte("x"), func(*entry) {})
			}
		})
	}
}
