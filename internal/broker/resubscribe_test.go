package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// stirred runs what a random part of the broker has to do: the shards see each
// other's work late, and the disk is later still.
func stirred(rnd *rand.Rand, w *world, st *store.Store) {
	switch n := rnd.IntN(2*len(w.b.shards) + 2); {
	case n < 2*len(w.b.shards):
		w.b.shards[n/2].Turn(w.now)
	case st != nil && n%2 == 0:
		st.Step()
		st.StepReads()
	default:
		for range len(w.posts) {
			(<-w.posts)()
		}
	}
	for _, p := range w.conns {
		p.write()
	}
	w.settle()
}

// TestResubscribe changes the QoS of subscriptions while other shards publish: by
// subscribing again, and by overlapping filters that come and go. The client has a
// matching subscription all the time, so that it gets every message
// (MQTT-3.8.4-4), and none twice.
func TestResubscribe(t *testing.T) {
	for _, stored := range []bool{false, true} {
		for _, shards := range []int{1, 2, 8} {
			for seed := range uint64(30) {
				t.Run(fmt.Sprintf("stored=%v/shards=%d/seed=%d", stored, shards, seed), func(t *testing.T) {
					resubscribe(t, stored, shards, seed)
				})
			}
		}
	}
}

func resubscribe(t *testing.T, stored bool, shards int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, uint64(shards)))
	var w *world
	var st *store.Store
	if stored {
		w, st = onShards(t, memstore.New(), quietly(shards), false)
	} else {
		w = newWorld(t, quietly(shards))
	}
	finish := func() {
		for range 4 {
			if st != nil {
				st.Step()
				st.StepReads()
			}
			w.turn()
		}
	}
	open := func(shard int, prefix string) *peer {
		p := w.dial(packet.V5)
		c := packet.Connect{Version: packet.V5, ClientID: []byte(clientOn(shard, shards, prefix)), CleanStart: true}
		expires(3600)(&c)
		p.bytes(c.Append(nil))
		finish()
		p.next(packet.CONNACK)
		return p
	}
	sub := open(shards-1, "sub")
	var pubs []*peer
	for i := range min(shards, 3) {
		pubs = append(pubs, open(i, "pub"))
	}
	request := func(filter string, qos packet.QoS) {
		s := packet.Subscription{Filter: []byte(filter), QoS: qos}
		sub.offerOnly((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{s}}).Append(nil, packet.V5))
	}
	request("x/#", packet.QoS(rnd.IntN(3)))
	finish()
	sent := make([]int, len(pubs))
	got := map[string]int{}
	last := map[string]int{}
	read := func() {
		for {
			first, body, size, _ := packet.Split(sub.out, packet.MaxSize)
			if size == 0 {
				return
			}
			body = append([]byte(nil), body...)
			sub.out = sub.out[size:]
			switch packet.TypeOf(first) {
			case packet.PUBLISH:
				var m packet.Publish
				if err := m.Decode(packet.V5, first, body); err != nil {
					t.Fatal(err)
				}
				got[string(m.Payload)]++
				var from, n int
				fmt.Sscanf(string(m.Payload), "%d-%d", &from, &n)
				if order := fmt.Sprint(from, m.QoS); n < last[order] {
					t.Errorf("message %d of publisher %d after %d, both with QoS %d", n, from, last[order], m.QoS)
				} else {
					last[order] = n
				}
				if answer := []packet.Type{0, packet.PUBACK, packet.PUBREC}[m.QoS]; answer != 0 {
					sub.offerOnly((&packet.Ack{Type: answer, ID: m.ID}).Append(nil, packet.V5))
				}
			case packet.PUBREL:
				var a packet.Ack
				if err := a.Decode(packet.V5, first, body); err != nil {
					t.Fatal(err)
				}
				sub.offerOnly((&packet.Ack{Type: packet.PUBCOMP, ID: a.ID}).Append(nil, packet.V5))
			}
		}
	}
	for range 400 {
		switch n := rnd.IntN(8); n {
		case 0:
			request("x/#", packet.QoS(rnd.IntN(3)))
		case 1:
			request([]string{"x/y", "x/+", "+/y"}[rnd.IntN(3)], packet.QoS(rnd.IntN(3)))
		case 2:
			filter := []string{"x/y", "x/+", "+/y"}[rnd.IntN(3)]
			sub.offerOnly((&packet.Unsubscribe{ID: 8, Filters: [][]byte{[]byte(filter)}}).Append(nil, packet.V5))
		case 3, 4:
			i := rnd.IntN(len(pubs))
			m := packet.Publish{Topic: []byte("x/y"), Payload: fmt.Appendf(nil, "%d-%d", i, sent[i]), QoS: 1, ID: packet.ID(sent[i] + 1)}
			pubs[i].offerOnly(m.Append(nil, packet.V5))
			sent[i]++
		default:
			stirred(rnd, w, st)
			read()
		}
	}
	for range 20 {
		finish()
		read()
	}
	for i, n := range sent {
		for k := range n {
			if name := fmt.Sprintf("%d-%d", i, k); got[name] != 1 {
				t.Errorf("message %s came %d times", name, got[name])
			}
		}
	}
}
