package routing

import (
	"testing"

	"midge/internal/packet"
)

// rule permits what it says, and counts how often it was asked.
type rule struct {
	publish, receive bool
	asked            int
}

func (r *rule) Publish([]byte, packet.QoS, bool) bool { r.asked++; return r.publish }
func (r *rule) Subscribe(string) bool                 { return true }
func (r *rule) Receive([]byte) bool                   { return r.receive }

// TestPermitsAreRemembered asks once for each client, QoS and RETAIN while the
// route is in the cache, and again for a new identity and after Clear.
func TestPermitsAreRemembered(t *testing.T) {
	_, all := tables(1, true)
	name := []byte("t")
	one, two := &rule{publish: true}, &rule{}
	a, b := &Identity{Permissions: one}, &Identity{Permissions: two}
	ask := func() {
		for range 3 {
			all[0].Route(name)
		}
		r := all[0].Cached(name)
		for range 5 {
			for qos := range packet.QoS(3) {
				for _, retain := range []bool{false, true} {
					if !all[0].MayPublish(a, r, name, qos, retain) || all[0].MayPublish(b, r, name, qos, retain) {
						t.Fatal("a wrong answer")
					}
				}
			}
		}
	}
	if ask(); one.asked != 6 || two.asked != 6 {
		t.Errorf("asked %d and %d times, want 6", one.asked, two.asked)
	}
	if sum := all[0].cache.sum(); sum != all[0].cache.bytes {
		t.Errorf("the cache says %d bytes, its parts have %d", all[0].cache.bytes, sum)
	}
	all[0].Clear()
	if ask(); one.asked != 12 {
		t.Errorf("asked %d times after Clear, want 12", one.asked)
	}
	if !all[0].MayPublish(a, nil, name, 0, false) || one.asked != 13 {
		t.Error("without a route nobody was asked")
	}
}

// TestPermitsAreBounded proves that answers for very many clients make a shard
// begin anew, like routes for very many topics.
func TestPermitsAreBounded(t *testing.T) {
	_, all := tables(1, true)
	name := []byte("t")
	for range 3 {
		all[0].Route(name)
	}
	r := all[0].Cached(name)
	for range cachedBytes/permitBytes + 1000 {
		all[0].MayPublish(&Identity{Permissions: &rule{}}, r, name, 0, false)
	}
	if all[0].Trim(); r.Is(name) || all[0].cache.bytes > cachedBytes {
		t.Errorf("%d bytes of routes", all[0].cache.bytes)
	}
}

// TestMayReceive leaves out who may not receive, and finds it again with another
// identity once its routes are invalid.
func TestMayReceive(t *testing.T) {
	_, all := tables(1, true)
	c, barred := &someone{name: "c"}, &someone{name: "barred", who: &Identity{Permissions: &rule{}}}
	subscribe(all[0], c, "t", 0)
	subscribe(all[0], barred, "t", 0)
	receivers := func() int {
		r, _ := all[0].Route([]byte("t"))
		return len(r.Receivers)
	}
	for range 3 {
		if n := receivers(); n != 1 {
			t.Fatalf("%d receivers, want 1", n)
		}
	}
	barred.who = &Identity{Permissions: &rule{receive: true}}
	if all[0].Invalidate("t"); receivers() != 2 {
		t.Error("it may receive now, and is not found")
	}
}
