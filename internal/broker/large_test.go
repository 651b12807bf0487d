package broker

import (
	"fmt"
	"strings"
	"testing"

	"midge/internal/packet"
)

// TestLargeInFlight proves that a large message which waits for its acknowledgement lies in its
// publisher's buffer, if at least half of that is its own, and in a copy else; that
// it comes again unchanged to a client that comes back; and that the buffer is free once
// the client has it. What is stored on disk holds no memory.
func TestLargeInFlight(t *testing.T) {
	for qos := packet.QoS(1); qos < 3; qos++ {
		for _, durable := range []bool{false, true} {
			for _, shards := range []int{1, 3} {
				for _, size := range []int{20_000, 34_000, 70_000, 1 << 20} {
					t.Run(fmt.Sprintf("qos=%d/durable=%v/shards=%d/%d", qos, durable, shards, size), func(t *testing.T) {
						w := sharedWorld(t, durable, shards, func(c *setup) { c.Limits.PacketSize = 2 << 20 })
						sub := w.connect(packet.V5, clientOn(shards-1, shards, "sub"), expires(3600))
						sub.subscribe("t", qos)
						pub := w.connect(packet.V5, clientOn(0, shards, "pub"))
						w.lends = true
						largeInFlight(t, pub, sub, qos, size, durable)
					})
				}
			}
		}
	}
}

func largeInFlight(t *testing.T, pub, sub *peer, qos packet.QoS, size int, durable bool) {
	w := pub.w
	payload := strings.Repeat("0123456789", size/10)
	all := (&packet.Publish{Topic: []byte("t"), Payload: []byte(payload), QoS: qos, ID: 1}).Append(nil, packet.V5)
	if size < 32<<10 { // the rest of the buffer is another's
		all = (&packet.Publish{Topic: []byte("other"), Payload: make([]byte, 64<<10-10-len(all))}).Append(all, packet.V5)
	}
	pub.bytes(all)
	want := 0
	if size > 32<<10 && !durable {
		want = 1
	}
	if used := w.scribble(); used != want {
		t.Errorf("in flight, %d buffers are used, want %d", used, want)
	}
	m, ok := sub.silent()
	if !ok || string(m.Payload) != payload || m.QoS != qos || m.Dup {
		t.Fatalf("got %d bytes at QoS %d, DUP %v", len(m.Payload), m.QoS, m.Dup)
	}
	sub.hang()
	w.scribble()
	sub, present, _ := w.join(clientOn(len(w.b.shards)-1, len(w.b.shards), "sub"), expires(3600))
	if !present {
		t.Fatal("the session is gone")
	}
	again, ok := sub.silent()
	if !ok || string(again.Payload) != payload || !again.Dup || again.ID != m.ID {
		t.Fatalf("got %d bytes again, DUP %v, %.20q", len(again.Payload), again.Dup, again.Payload)
	}
	answer := packet.PUBACK
	if qos == 2 {
		answer = packet.PUBREC
	}
	sub.bytes((&packet.Ack{Type: answer, ID: m.ID}).Append(nil, packet.V5))
	if used := w.scribble(); used != 0 {
		t.Errorf("acknowledged, and %d buffers are used", used)
	}
}

// TestLargeHandedOver proves that a large message in flight to a member of a group goes on
// unchanged to another member, and what several clients have in flight is free when the last
// one has acknowledged it.
func TestLargeHandedOver(t *testing.T) {
	for _, shards := range []int{1, 3} {
		w := sharedWorld(t, false, shards)
		first := w.connect(packet.V5, clientOn(0, shards, "first"))
		first.subscribe("$share/g/t", 1)
		others := []*peer{w.connect(packet.V5, clientOn(0, shards, "a")), w.connect(packet.V311, clientOn(shards-1, shards, "b"))}
		for _, p := range others {
			p.subscribe("t", 1)
		}
		pub := w.connect(packet.V5, clientOn(shards-1, shards, "pub"))
		payload := strings.Repeat("0123456789", 5000)
		w.lends = true
		pub.bytes((&packet.Publish{Topic: []byte("t"), Payload: []byte(payload), QoS: 1, ID: 1}).Append(nil, packet.V5))
		w.lends = false
		if m, ok := first.silent(); !ok || string(m.Payload) != payload {
			t.Fatalf("shards %d: the member got %d bytes", shards, len(m.Payload))
		}
		for i, p := range others {
			if m, ok := p.message(); !ok || string(m.Payload) != payload {
				t.Fatalf("shards %d: %d got %d bytes", shards, i, len(m.Payload))
			}
			if used := w.scribble(); used != 1 {
				t.Errorf("shards %d: %d buffers are used although the member has not acknowledged", shards, used)
			}
		}
		id := clientOn(0, shards, "second")
		second := w.connect(packet.V5, id, expires(3600))
		second.subscribe("$share/g/t", 1)
		first.hang()
		if used := w.scribble(); used != 1 {
			t.Error("the buffer was free while the message went to another member") // another thread may have taken it
		}
		for range 2 { // it comes back without an acknowledgement
			if m, ok := second.silent(); !ok || string(m.Payload) != payload {
				t.Fatalf("shards %d: the second member got %d bytes, %.20q", shards, len(m.Payload), m.Payload)
			}
			w.scribble()
			second.hang()
			second, _, _ = w.join(id, expires(3600))
		}
	}
}
