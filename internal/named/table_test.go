package named

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type thing struct {
	name string
	n    int
}

func newThings() *Table[thing] { return New(func(x *thing) string { return x.name }) }

// TestTable does the same to a Table and to a map.
func TestTable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	table, want := newThings(), map[string]*thing{}
	check := func() {
		t.Helper()
		all := map[string]*thing{}
		for x := range table.All {
			if all[x.name] != nil {
				t.Fatalf("%s comes twice", x.name)
			}
			all[x.name] = x
		}
		if !maps.Equal(all, want) || table.Len() != len(want) {
			t.Fatalf("%d things, %d by Len, want %d", len(all), table.Len(), len(want))
		}
	}
	check()
	for _, names := range []int{10, 200, 20000, 5} { // it grows and shrinks
		for i := range 6 * names {
			name := fmt.Sprint("client-", r.IntN(names))
			switch {
			case r.IntN(3) == 0:
				table.Remove(name)
				delete(want, name)
			default:
				x := &thing{name, i}
				table.Put(x)
				want[name] = x
			}
			if other := fmt.Sprint("client-", r.IntN(names)); table.Get(other) != want[other] {
				t.Fatalf("%s: got %v, want %v", other, table.Get(other), want[other])
			}
		}
		check()
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if table.Get(name) != want[name] {
				t.Fatalf("%s is not found", name)
			}
			if r.IntN(4) > 0 {
				table.Remove(name)
				delete(want, name)
			}
		}
		check()
	}
}

// TestTableIsSmall compares places with things: at any size at most 2.5 for each
// are taken, and what names took that are gone is given back.
func TestTableIsSmall(t *testing.T) {
	table := newThings()
	places := func() (n int) {
		for i, p := range table.parts {
			if i == 0 || p != table.parts[i-1] {
				n += len(p.marks)
			}
		}
		return n
	}
	for i := range 100000 {
		table.Put(&thing{name: fmt.Sprint(i)})
		if n := places(); i > 100 && n > 5*table.Len()/2 {
			t.Fatalf("%d places for %d things", n, table.Len())
		}
	}
	for i := range 100000 {
		table.Remove(fmt.Sprint(i))
	}
	if n, parts := places(), len(table.parts); n > leastPlaces*parts {
		t.Errorf("%d places in %d parts are left", n, parts)
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 100000
	names := make([]string, n)
	table, m := newThings(), map[string]*thing{}
	for i := range names {
		names[i] = fmt.Sprint("client-", i)
		x := &thing{name: names[i]}
		table.Put(x)
		m[names[i]] = x
	}
	b.Run("table", func(b *testing.B) {
		for i := range b.N {
			if table.Get(names[i*7919%n]) == nil {
				b.Fatal("not found")
			}
		}
	})
	b.Run("map", func(b *testing.B) {
		for i := range b.N {
			if m[names[i*7919%n]] == nil {
				b.Fatal("not found")
			}
		}
	})
}

// TestScan goes through a Table that changes in between: what is there all the time comes, and no
// call has many.
func TestScan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{0, 1, 7, 900, 20_000} {
		table, stays, seen := newThings(), map[string]bool{}, map[string]bool{}
		for i := range n {
			x := &thing{name: fmt.Sprint(i)}
			table.Put(x)
			stays[x.name] = i%2 == 0
		}
		cursor, more := uint64(0), true
		for more {
			count := 0
			cursor, more = table.Scan(cursor, func(x *thing) {
				count++
				seen[x.name] = true
			})
			if count > maxPlaces {
				t.Errorf("%d at once", count)
			}
			for range 500 { // it grows and shrinks
				if i := r.IntN(n + 1); i%2 == 1 {
					table.Remove(fmt.Sprint(i))
				}
				table.Put(&thing{name: fmt.Sprint("new", r.IntN(5*n+1))})
			}
		}
		for name, is := range stays {
			if is && !seen[name] {
				t.Errorf("%d things: %s was passed over", n, name)
			}
		}
	}
}
