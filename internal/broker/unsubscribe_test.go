package broker

import (
	"fmt"
	"testing"

	"midge/internal/packet"
	"midge/internal/store/memstore"
)

// TestUnsubscribeAfterRouting publishes and then unsubscribes on another shard,
// which has not read its letters yet. The publisher may know already that we have
// the message, and the subscriber may know that; so it comes, before UNSUBACK.
func TestUnsubscribeAfterRouting(t *testing.T) {
	const shards = 2
	for _, stored := range []bool{false, true} {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			for _, granted := range []packet.QoS{0, 1, 2} {
				for _, qos := range []packet.QoS{0, 1, 2} {
					t.Run(fmt.Sprintf("stored=%v/%v/subscribed=%d/published=%d", stored, v, granted, qos), func(t *testing.T) {
						var w *world
						if stored {
							w, _ = onShards(t, memstore.New(), quietly(shards), true)
						} else {
							w = newWorld(t, quietly(shards))
						}
						lasts := func(c *packet.Connect) {
							if c.CleanStart = false; v == packet.V5 {
								expires(3600)(c)
							}
						}
						pub := w.connect(v, clientOn(0, shards, "pub"))
						sub := w.connect(v, clientOn(1, shards, "sub"), lasts)
						sub.subscribe("a/+", granted)
						m := packet.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: qos, ID: 9}
						pub.offerOnly(m.Append(nil, v))
						w.b.shards[0].Turn(w.now)
						sub.bytes((&packet.Unsubscribe{ID: 8, Filters: [][]byte{[]byte("a/+")}}).Append(nil, v))
						if m, ok := sub.silent(); !ok || string(m.Payload) != "x" || m.QoS != min(granted, qos) {
							t.Fatalf("got %v %v, want the message with QoS %d", ok, m, min(granted, qos))
						}
						if sub.next(packet.UNSUBACK) == nil {
							t.Fatal("no UNSUBACK")
						}
						pub.publish("a/b", "y", qos, false)
						sub.quiet()
						sub.bytes(packet.Pingreq{}.Append(nil, v))
						if sub.next(packet.PINGRESP) == nil {
							t.Fatal("nothing is read behind UNSUBSCRIBE")
						}
					})
				}
			}
		}
	}
}

// TestUnsubscribeThenGone ends a connection whose UNSUBSCRIBE waits for letters.
func TestUnsubscribeThenGone(t *testing.T) {
	const shards = 2
	w := newWorld(t, quietly(shards))
	pub := w.connect(packet.V5, clientOn(0, shards, "pub"))
	id := clientOn(1, shards, "sub")
	sub := w.connect(packet.V5, id, expires(3600))
	sub.subscribe("a", 1)
	pub.offerOnly((&packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, ID: 9}).Append(nil, packet.V5))
	w.b.shards[0].Turn(w.now)
	sub.offerOnly((&packet.Unsubscribe{ID: 8, Filters: [][]byte{[]byte("a")}}).Append(nil, packet.V5))
	sub.hang()
	sub, present, _ := w.join(id, expires(3600))
	if !present {
		t.Fatal("the session is gone")
	}
	sub.want("x")
}
