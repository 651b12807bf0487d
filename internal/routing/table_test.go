package routing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"midge/internal/packet"
	"midge/internal/topic"
)

// someone is a client of the tests.
type someone struct {
	name  string
	mount int
	who   *Identity
	subs  Subscriptions[*someone]
	Consumer
}

// Identity implements Client.
func (c *someone) Identity() *Identity { return c.who }

// Mount implements Client.
func (c *someone) Mount() int { return c.mount }

// tables are those of some shards.
func tables(shards int, restricted bool) (*Interest[*someone], []*Table[*someone]) {
	n := NewInterest[*someone]()
	var all []*Table[*someone]
	for i := range shards {
		all = append(all, NewTable(n, i, restricted))
	}
	return n, all
}

// subscribe gives a client another subscription.
func subscribe(t *Table[*someone], c *someone, filter string, qos packet.QoS) *Subscription[*someone] {
	sub := &Subscription[*someone]{Filter: filter, Client: c, QoS: qos}
	c.subs.Add(sub)
	t.Add(sub)
	return sub
}

// expected is what a route must say, found the slow way.
type expected struct {
	receivers map[*someone]Grant
	own       map[*someone]*Grant
	shards    uint64
	persisted uint64
	groups    []string
}

// expect looks at all subscriptions of all shards.
func expect(clients [][]*someone, shard int, name string) expected {
	e := expected{receivers: map[*someone]Grant{}, own: map[*someone]*Grant{}}
	groups := map[string]bool{}
	for i, on := range clients {
		for _, c := range on {
			for sub := range c.subs.All {
				if sub.Group != nil {
					if topic.Match(sub.Group.Name.Filter, name) {
						groups[sub.Group.Name.String()] = true
					}
					continue
				}
				if !topic.Match(sub.Filter, name) {
					continue
				}
				if sub.Persisted() {
					e.persisted |= 1 << i
				}
				if i != shard {
					e.shards |= 1 << i
					continue
				}
				g := e.receivers[c]
				merge(&g, sub)
				e.receivers[c] = g
				if !sub.NoLocal {
					if e.own[c] == nil {
						e.own[c] = &Grant{}
					}
					merge(e.own[c], sub)
				}
			}
		}
	}
	for g := range groups {
		e.groups = append(e.groups, g)
	}
	slices.Sort(e.groups)
	return e
}

// sameGrant compares grants, whose identifiers have no order.
func sameGrant(a, b *Grant) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := slices.Sorted(slices.Values(a.IDs)), slices.Sorted(slices.Values(b.IDs))
	return a.QoS == b.QoS && a.RetainAsPublished == b.RetainAsPublished && slices.Equal(x, y)
}

// check compares a route with what it must say.
func (e *expected) check(t *testing.T, r *Route[*someone], what string) {
	t.Helper()
	if len(r.Receivers) != len(e.receivers) {
		t.Fatalf("%s: %d receivers, want %d", what, len(r.Receivers), len(e.receivers))
	}
	for i := range r.Receivers {
		rc := &r.Receivers[i]
		want, ok := e.receivers[rc.Client]
		if !ok || !sameGrant(rc.GrantFrom(nil), &want) {
			t.Fatalf("%s: %s is granted %+v, want %+v", what, rc.Client.name, rc.Grant, want)
		}
		if got := rc.GrantFrom(rc.Client); !sameGrant(got, e.own[rc.Client]) {
			t.Fatalf("%s: %s is granted %+v of its own, want %+v", what, rc.Client.name, got, e.own[rc.Client])
		}
	}
	var groups []string
	for _, g := range r.Groups {
		groups = append(groups, g.Name.String())
	}
	slices.Sort(groups)
	if r.Shards != e.shards || r.Persisted != e.persisted || !slices.Equal(groups, e.groups) {
		t.Fatalf("%s: shards %b persisted %b groups %v, want %b, %b, %v", what, r.Shards, r.Persisted, groups, e.shards, e.persisted, e.groups)
	}
	if empty := len(e.receivers) == 0 && e.shards == 0 && len(e.groups) == 0; r.Empty() != empty {
		t.Fatalf("%s: empty %v, want %v", what, r.Empty(), empty)
	}
}

// TestRouteModel changes subscriptions of some shards at random, and compares
// routes with all subscriptions: v5/MQTT-3.3.4-2 (the maximum QoS),
// v5/MQTT-3.3.4-3 (all identifiers), v5/MQTT-3.8.3-3 (No Local).
func TestRouteModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { routeModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func routeModel(t *testing.T, rnd *rand.Rand) {
	const shards = 3
	n, all := tables(shards, false)
	filters := []string{"a", "a/b", "a/+", "#", "+", "a/#", "b/c", "+/b", "$SYS/#", "b"}
	names := []string{"a", "a/b", "b", "b/c", "b/b", "$SYS/x", "c"}
	clients := make([][]*someone, shards)
	for i := range shards {
		for k := range 30 {
			clients[i] = append(clients[i], &someone{name: fmt.Sprint(i, "-", k)})
		}
	}
	for step := range 600 {
		i := rnd.IntN(shards)
		c := clients[i][rnd.IntN(len(clients[i]))]
		filter := filters[rnd.IntN(len(filters))]
		if rnd.IntN(4) == 0 {
			filter = "$share/g/" + strings.TrimPrefix(filter, "$")
		}
		sub := c.subs.Find(filter)
		switch {
		case sub != nil && rnd.IntN(2) == 0:
			c.subs.Remove(filter)
			if sub.Group != nil {
				n.Leave(sub.Group, c)
			} else {
				all[i].Remove(sub)
			}
		case sub != nil && sub.Group == nil:
			before := sub.Persisted()
			sub.QoS, sub.NoLocal, sub.RetainAsPublished, sub.ID = packet.QoS(rnd.IntN(3)), rnd.IntN(3) == 0, rnd.IntN(2) == 0, uint32(rnd.IntN(3))
			all[i].Changed(sub, before)
		case sub == nil:
			sub = &Subscription[*someone]{Filter: filter, Client: c, QoS: packet.QoS(rnd.IntN(3)), NoLocal: rnd.IntN(3) == 0, Persistent: rnd.IntN(2) == 0}
			c.subs.Add(sub)
			if share, inner, shared, _ := topic.ParseShared(filter); shared {
				sub.Group = n.Join(GroupName{Share: share, Filter: inner}, Member[*someone]{Client: c, Consumer: &c.Consumer, Shard: i}, 0)
			} else {
				all[i].Add(sub)
			}
		}
		for range rnd.IntN(3) { // more changes than the last 32 between two looks are part of it
			at, name := rnd.IntN(shards), names[rnd.IntN(len(names))]
			e := expect(clients, at, name)
			r, _ := all[at].Route([]byte(name))
			e.check(t, r, fmt.Sprint("step ", step, ", ", name, " on ", at))
		}
	}
}

// TestReceivers finds the receivers of what another shard has routed, whether
// the route is remembered or not.
func TestReceivers(t *testing.T) {
	_, all := tables(2, false)
	c := &someone{name: "c"}
	subscribe(all[1], c, "a/+", 1)
	for range 40 {
		got := all[1].Receivers([]byte("a/b"))
		if len(got) != 1 || got[0].Client != c || got[0].QoS != 1 {
			t.Fatalf("receivers: %+v", got)
		}
	}
	if got := all[1].Receivers([]byte("b")); len(got) != 0 {
		t.Fatalf("receivers: %+v", got)
	}
}

// BenchmarkRoute is what a message costs before it is delivered, with a route that
// is remembered.
func BenchmarkRoute(b *testing.B) {
	_, all := tables(1, false)
	for i := range 20 {
		subscribe(all[0], &someone{name: fmt.Sprint(i)}, "a/#", 0)
	}
	name := []byte("a/b")
	for range 40 {
		all[0].Route(name)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, _ := all[0].Route(name)
		all[0].Renew(r)
	}
}
