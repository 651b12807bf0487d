package routing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"midge/internal/packet"
)

// sum is what the parts of a cache take.
func (c *cache[C]) sum() (sum int) {
	for _, r := range c.byName {
		sum += routeSize + len(r.name) + 8*cap(r.Groups)
		if r.publisher != nil {
			sum += permitBytes
		}
		if r.permits != nil {
			sum += permitBytes * len(r.permits.all)
		}
	}
	for _, l := range c.lists {
		sum += l.size
	}
	return sum
}

// TestRoutesShareLists looks up many topics that the same clients listen to:
// the cache holds one list of receivers, whatever the number of topics, and new
// lists only for topics that have other receivers.
func TestRoutesShareLists(t *testing.T) {
	_, all := tables(1, false)
	table := all[0]
	const clients, topics = 300, 2000
	for i := range clients {
		subscribe(table, &someone{name: fmt.Sprint("sub", i)}, "fleet/#", 0)
	}
	lookUp := func() {
		for range 3 {
			for i := range topics {
				table.Route(fmt.Appendf(nil, "fleet/%d", i))
			}
		}
	}
	c := &table.cache
	lists := func(want int) {
		t.Helper()
		lookUp()
		if n := len(c.lists); n != want {
			t.Errorf("%d lists of receivers, want %d", n, want)
		}
	}
	lists(1)
	if n := len(c.byName); n < topics/2 {
		t.Errorf("%d routes are remembered, want about %d", n, topics)
	}
	if limit := topics*300 + clients*100; c.bytes > limit {
		t.Errorf("%d bytes, want at most %d", c.bytes, limit)
	}
	extra := &someone{name: "extra"}
	for i := range 20 { // some names may keep each other out of the cache
		subscribe(table, extra, fmt.Sprint("fleet/", i), 0)
	}
	lists(2)
	for sub := range extra.subs.All {
		table.Remove(sub)
	}
	lists(1)
	if sum := c.sum(); sum != c.bytes {
		t.Errorf("the cache says %d bytes, its parts have %d", c.bytes, sum)
	}
}

// TestRoutesBounded gives every topic other receivers, long names, and groups:
// the cache stays within its bytes, also if changes of subscriptions make
// lists grow that are there.
func TestRoutesBounded(t *testing.T) {
	n, all := tables(1, false)
	table := all[0]
	rnd := rand.New(rand.NewPCG(1, 2))
	const topics = 1500
	var subs []*someone
	again := func(c *someone) {
		filter := fmt.Sprintf("t/%d/+", rnd.IntN(topics))
		if sub := c.subs.Find(filter); sub != nil {
			table.Changed(sub, sub.Persisted())
		} else {
			subscribe(table, c, filter, 0)
		}
	}
	for i := range 40 {
		c := &someone{name: fmt.Sprint("sub", i)}
		n.Join(GroupName{Share: fmt.Sprint("g", i), Filter: "t/#"}, Member[*someone]{Client: c, Consumer: &c.Consumer}, 0)
		for range 30 {
			again(c)
		}
		subs = append(subs, c)
	}
	everything := &someone{name: "all"}
	subscribe(table, everything, "#", 0)
	cleared := 0
	for round := range 4 {
		for i := range topics {
			r, _ := table.Route([]byte(fmt.Sprint("t/", i, "/", strings.Repeat("x", 20_000))))
			if len(r.Groups) != len(subs) || r.Receivers[0].Client == nil {
				t.Fatalf("round %d, topic %d: %d groups, receivers %v", round, i, len(r.Groups), r.Receivers)
			}
			if i%20 == 0 {
				before := len(table.cache.byName)
				table.Trim()
				if before > 0 && len(table.cache.byName) == 0 {
					cleared++
				}
				if table.cache.heavy(table.count) {
					t.Fatalf("round %d: the cache has %d bytes", round, table.cache.bytes)
				}
				again(subs[rnd.IntN(len(subs))])
			}
		}
	}
	if table.Trim(); table.cache.bytes > cachedBytes+4*receiverSize*table.count {
		t.Errorf("%d bytes", table.cache.bytes)
	}
	if sum := table.cache.sum(); sum != table.cache.bytes {
		t.Errorf("the cache says %d bytes, its parts have %d", table.cache.bytes, sum)
	}
}

// TestClear forgets routes that connections point to: those are of no name then.
func TestClear(t *testing.T) {
	_, all := tables(1, false)
	name := []byte("a")
	subscribe(all[0], &someone{}, "a", packet.QoS(0))
	for range 3 {
		all[0].Route(name)
	}
	r := all[0].Cached(name)
	if !r.Is(name) || r.Is([]byte("b")) {
		t.Fatal("the route is not remembered, or is of another name")
	}
	if all[0].Clear(); r.Is(name) || all[0].Cached(name) != nil || len(r.Receivers) != 0 || all[0].cache.bytes != 0 {
		t.Error("the route is still there")
	}
	var none *Route[*someone]
	if none.Is(name) {
		t.Error("no route is of a name")
	}
}
