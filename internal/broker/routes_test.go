package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"midge/internal/packet"
)

// TestRoutesShareLists publishes to many topics that the same clients listen to:
// the cache holds one list of receivers, whatever the number of topics, and new
// lists only for topics that have other receivers.
func TestRoutesShareLists(t *testing.T) {
	w := newWorld(t, quietly(1))
	s := w.b.shards[0]
	const clients, topics = 300, 2000
	for i := range clients {
		p := w.connect(packet.V311, fmt.Sprint("sub", i))
		p.subscribe("fleet/#", 0)
		p.discard = true
	}
	pub := w.connect(packet.V5, "pub")
	publish := func() {
		for round := range 3 {
			for i := range topics {
				p := packet.Publish{Topic: fmt.Appendf(nil, "fleet/%d", i), Payload: []byte{byte(round)}}
				pub.offerOnly(p.Append(nil, packet.V5))
			}
			w.turn()
		}
	}
	publish()
	if n := len(s.routes.byName); n < topics/2 {
		t.Errorf("%d routes are remembered, want about %d", n, topics)
	}
	if n := len(s.routes.lists); n != 1 {
		t.Errorf("%d lists of receivers, want 1", n)
	}
	if most := topics*300 + clients*100; s.routes.bytes > most {
		t.Errorf("%d bytes, want at most %d", s.routes.bytes, most)
	}
	extra := w.connect(packet.V5, "extra")
	for i := range 20 { // some names may keep each other out of the cache
		extra.subscribe(fmt.Sprint("fleet/", i), 0)
	}
	publish()
	if n := len(s.routes.lists); n != 2 {
		t.Errorf("%d lists of receivers, want 2", n)
	}
	if len(extra.out) == 0 {
		t.Error("the new subscriber gets nothing")
	}
	extra.hang()
	publish()
	if n := len(s.routes.lists); n != 1 {
		t.Errorf("%d lists of receivers after the subscriber has gone, want 1", n)
	}
	sum := 0
	for _, r := range s.routes.byName {
		sum += routeSize + len(r.name) + 8*cap(r.groups)
	}
	for _, l := range s.routes.lists {
		sum += l.size
	}
	if sum != s.routes.bytes {
		t.Errorf("the cache says %d bytes, its parts have %d", s.routes.bytes, sum)
	}
}

// TestRoutesBounded gives every topic other receivers, long names, and groups:
// the cache stays within its bytes, also if changes of subscriptions make
// lists grow that are there, and delivers what it should.
func TestRoutesBounded(t *testing.T) {
	w := newWorld(t, quietly(1, func(c *setup) { c.Limits.TopicLength = 65_535 }))
	s := w.b.shards[0]
	rnd := rand.New(rand.NewPCG(1, 2))
	const topics = 1500
	name := func(i int) string { return fmt.Sprint("t/", i, "/", strings.Repeat("x", 20_000)) }
	var subs []*peer
	for i := range 40 {
		p := w.connect(packet.V5, fmt.Sprint("sub", i))
		p.subscribe(fmt.Sprintf("$share/g%d/t/#", i), 0)
		for range 30 {
			p.subscribe(fmt.Sprintf("t/%d/+", rnd.IntN(topics)), 0)
		}
		p.discard = true
		subs = append(subs, p)
	}
	all := w.connect(packet.V5, "all")
	all.subscribe("#", 0)
	pub := w.connect(packet.V5, "pub")
	for round := range 4 {
		for i := range topics {
			pub.offerOnly((&packet.Publish{Topic: []byte(name(i))}).Append(nil, packet.V5))
			if i%20 == 0 {
				w.turn()
				if s.routes.heavy(s.count.Subscriptions) {
					t.Fatalf("round %d: the cache has %d bytes", round, s.routes.bytes)
				}
				again := packet.Subscription{Filter: fmt.Appendf(nil, "t/%d/+", rnd.IntN(topics))}
				subs[rnd.IntN(len(subs))].offerOnly((&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{again}}).Append(nil, packet.V5))
			}
		}
		w.turn()
		got := 0
		for m, ok := all.message(); ok; m, ok = all.message() {
			if string(m.Topic) != name(got) {
				t.Fatalf("round %d: got %.20q, want %.20q", round, m.Topic, name(got))
			}
			got++
		}
		if got != topics {
			t.Fatalf("round %d: %d messages of %d", round, got, topics)
		}
	}
	if limit := cachedBytes + 4*receiverSize*int(s.count.Subscriptions); s.routes.bytes > limit {
		t.Errorf("%d bytes, more than %d", s.routes.bytes, limit)
	}
}

// TestRoutesFollow publishes to one topic all the time, while subscriptions of
// all kinds come and go: each message goes to those that there are then, and
// PUBACK says whether there are any.
func TestRoutesFollow(t *testing.T) {
	home := shardOf([]byte("pub"), 2)
	near, away := clientOn(home, 2, "near"), clientOn(1-home, 2, "away")
	ends := map[string]func(sub *peer, filter string){
		"UNSUBSCRIBE": func(sub *peer, filter string) {
			sub.bytes((&packet.Unsubscribe{ID: 1, Filters: [][]byte{[]byte(filter)}}).Append(nil, packet.V5))
			sub.next(packet.UNSUBACK)
		},
		"the end of the session": func(sub *peer, _ string) { sub.hang() },
	}
	for name, end := range ends {
		for _, filter := range []string{"a/b", "a/+", "#", "$share/g/a/b", "$share/g/a/#"} {
			for _, id := range []string{near, away} {
				other := clientOn(shardOf([]byte(id), 2), 2, "other")
				t.Run(fmt.Sprint(name, " ", filter, " ", id), func(t *testing.T) {
					w := newWorld(t, quietly(2))
					pub, other := w.connect(packet.V5, "pub"), w.connect(packet.V5, other)
					publish := func(payload string) (reached bool) {
						pub.publish("a/b", payload, 1, false)
						var ack packet.Ack
						if err := ack.Decode(packet.V5, 0x40, pub.next(packet.PUBACK)); err != nil {
							t.Fatal(err)
						}
						return ack.Code == packet.Success
					}
					for i := range 40 { // the route is remembered
						if publish("early") {
							t.Fatalf("message %d reaches somebody", i)
						}
					}
					var sub *peer
					for range 3 {
						if sub == nil || sub.closed {
							sub = w.connect(packet.V5, id)
						}
						sub.subscribe(filter, 1)
						for i := range 40 { // more changes than are remembered
							other.subscribe(fmt.Sprint("other/", i), 0)
						}
						for range 3 {
							if !publish("x") {
								t.Fatal("a message to a subscriber reaches nobody")
							}
							sub.want("x")
						}
						end(sub, filter)
						for range 3 {
							if publish("late") {
								t.Fatal("a message reaches somebody who has gone")
							}
							sub.quiet()
						}
					}
				})
			}
		}
	}
}
