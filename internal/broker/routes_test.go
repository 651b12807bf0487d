package broker

import (
	"fmt"
	"testing"

	"midge/internal/packet"
)

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
