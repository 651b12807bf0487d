package broker

import (
	"fmt"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// sharedWorld is a broker on some shards, durable or not.
func sharedWorld(t *testing.T, durable bool, shards int, change ...func(*setup)) *world {
	t.Helper()
	cfg := quietly(shards, change...)
	if !durable {
		return newWorld(t, cfg)
	}
	w, _ := onShards(t, memstore.New(), cfg, true)
	return w
}

// TestSharedInFlight ends the session of a member in every way there is, with
// messages of all QoS under way to it: those of QoS 1 go to another member (MQTT
// 5.0 section 4.8.2), those of QoS 2 must not (MQTT-4.8.2-5); so too if it has
// unsubscribed before.
func TestSharedInFlight(t *testing.T) {
	ends := map[string]struct {
		expiry uint32
		end    func(w *world, p *peer, id string)
	}{
		"drop":       {0, func(_ *world, p *peer, _ string) { p.hang() }},
		"DISCONNECT": {0, func(_ *world, p *peer, _ string) { p.bytes((&packet.Disconnect{}).Append(nil, packet.V5)) }},
		"keep-alive": {0, func(w *world, _ *peer, _ string) { w.pass(31 * time.Second) }},
		"takeover": {60, func(w *world, _ *peer, id string) {
			w.connect(packet.V5, id)
		}},
		"session expiry": {5, func(w *world, p *peer, _ string) { p.hang(); w.pass(6 * time.Second) }},
	}
	for name, how := range ends {
		for _, durable := range []bool{false, true} {
			for _, shards := range []int{1, 3} {
				for _, member := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/durable=%v/shards=%d/member=%v", name, durable, shards, member), func(t *testing.T) {
						w := sharedWorld(t, durable, shards)
						id := clientOn(0, shards, "first")
						first := w.connect(packet.V5, id, expires(how.expiry), func(c *packet.Connect) { c.KeepAlive = 20 })
						second := sharedInFlight(t, w, first, member)
						how.end(w, first, id)
						wantShared(t, second)
					})
				}
			}
		}
	}
}

// sharedInFlight sends messages to the first member of a group, which does not answer
// most of them. Another one joins. The first may leave the group.
func sharedInFlight(t *testing.T, w *world, first *peer, stays bool) (second *peer) {
	t.Helper()
	shards := len(w.b.shards)
	first.subscribe("$share/g/t", 2)
	pub := w.connect(packet.V5, clientOn(shards-1, shards, "pub"))
	for i := range 4 {
		pub.publish("t", fmt.Sprint("one", i), 1, false)
		pub.publish("t", fmt.Sprint("two", i), 2, false)
		pub.bytes((&packet.Ack{Type: packet.PUBREL, ID: 9}).Append(nil, packet.V5))
	}
	pub.publish("t", "large"+string(make([]byte, 10_000)), 1, false)
	for i := range 9 {
		if m, ok := first.silent(); !ok {
			t.Fatalf("message %d did not come", i)
		} else if string(m.Payload) == "one0" {
			first.bytes((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, packet.V5))
		}
	}
	second = w.connect(packet.V5, clientOn(shards-1, shards, "second"), expires(3600))
	second.subscribe("$share/g/t", 2)
	if !stays {
		first.bytes((&packet.Unsubscribe{ID: 8, Filters: [][]byte{[]byte("$share/g/t")}}).Append(nil, packet.V5))
		first.next(packet.UNSUBACK)
	}
	second.quiet()
	return second
}

// wantShared takes what sharedInFlight has left.
func wantShared(t *testing.T, p *peer) {
	t.Helper()
	for _, want := range []string{"one1", "one2", "one3", "large"} {
		m, ok := p.message()
		if !ok || string(m.Payload[:min(len(m.Payload), len(want))]) != want || m.Dup {
			t.Fatalf("got %.10q (DUP %v), want %s", m.Payload, m.Dup, want)
		}
	}
	p.quiet()
}

// TestSharedInFlightAcrossCrash ends the session of a member, or of one that was, after a
// crash of the broker.
func TestSharedInFlightAcrossCrash(t *testing.T) {
	for _, shards := range []int{1, 3} {
		for _, member := range []bool{true, false} {
			t.Run(fmt.Sprintf("shards=%d/member=%v", shards, member), func(t *testing.T) {
				backend := memstore.New()
				w, _ := onShards(t, backend, quietly(shards), true)
				first := w.connect(packet.V5, clientOn(0, shards, "first"), expires(3600))
				sharedInFlight(t, w, first, member)
				w, _ = onShards(t, backend, quietly(shards), true)
				second, present, _ := w.join(clientOn(shards-1, shards, "second"), expires(3600))
				if !present {
					t.Fatal("no session")
				}
				second.quiet()
				w.connect(packet.V5, clientOn(0, shards, "first")) // ends the session
				wantShared(t, second)
			})
		}
	}
}

// TestSharedTooLarge publishes what one member can't take (MQTT-3.1.2-24): it goes
// to another, also if it had waited for the first, and is counted if nobody takes it.
func TestSharedTooLarge(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, shards := range []int{1, 3} {
			for _, qos := range []packet.QoS{0, 1, 2} {
				t.Run(fmt.Sprintf("durable=%v/shards=%d/qos=%d", durable, shards, qos), func(t *testing.T) {
					w := sharedWorld(t, durable, shards)
					few := func(c *packet.Connect) {
						c.Properties.MaximumPacketSize = 100
						c.Properties.Set(packet.PropMaximumPacketSize)
					}
					small := w.connect(packet.V5, clientOn(0, shards, "small"), expires(60), few)
					small.subscribe("$share/g/t", qos)
					pub := w.connect(packet.V5, clientOn(shards-1, shards, "pub"))
					large := string(make([]byte, 200))
					before := w.b.Counters().DroppedSize
					pub.publish("t", large, qos, false)
					pub.bytes((&packet.Ack{Type: packet.PUBREL, ID: 9}).Append(nil, packet.V5))
					small.quiet()
					if n := w.b.Counters().DroppedSize - before; n != 1 {
						t.Errorf("%d messages are counted as too large, want 1", n)
					}
					any := w.connect(packet.V5, clientOn(shards-1, shards, "any"))
					any.subscribe("$share/g/t", qos)
					for range 6 {
						pub.publish("t", large, qos, false)
						pub.bytes((&packet.Ack{Type: packet.PUBREL, ID: 9}).Append(nil, packet.V5))
					}
					for i := range 6 {
						if _, ok := any.silent(); !ok {
							t.Fatalf("message %d did not come to the member that takes it", i)
						}
					}
					small.quiet()
				})
			}
		}
	}
}

// TestSharedAway lets a member go away whose session stays, with messages that
// were too much for its connection: those that it has not begun to get go to
// another member at once, and the others wait for it.
func TestSharedAway(t *testing.T) {
	const n = 20
	for _, durable := range []bool{false, true} {
		for _, shards := range []int{1, 3} {
			for _, qos := range []packet.QoS{1, 2} {
				t.Run(fmt.Sprintf("durable=%v/shards=%d/qos=%d", durable, shards, qos), func(t *testing.T) {
					w := sharedWorld(t, durable, shards, func(c *setup) { c.Limits.PendingBytes = 4096 })
					id := clientOn(0, shards, "first")
					first := w.connect(packet.V5, id, expires(60))
					first.subscribe("$share/g/t", qos)
					first.deaf = true
					pub := w.connect(packet.V5, clientOn(shards-1, shards, "pub"))
					got := map[string]int{}
					for i := range n {
						pub.publish("t", fmt.Sprintf("%3d%1000s", i, ""), qos, false)
						pub.bytes((&packet.Ack{Type: packet.PUBREL, ID: 9}).Append(nil, packet.V5))
					}
					second := w.connect(packet.V5, clientOn(shards-1, shards, "second"), expires(60))
					second.subscribe("$share/g/t", qos)
					second.quiet()
					first.hang()
					take := func(p *peer) (n int) {
						for m, ok := p.silent(); ok; m, ok = p.silent() {
							got[string(m.Payload[:3])]++
							n++
						}
						return n
					}
					others := take(second)
					if others < n/2 || others == n {
						t.Errorf("the other member got %d of %d messages", others, n)
					}
					again, present, _ := w.join(id, expires(60))
					if !present {
						t.Fatal("no session")
					}
					take(again)
					for i := range n {
						if text := fmt.Sprintf("%3d", i); got[text] != 1 {
							t.Errorf("message %d came %d times", i, got[text])
						}
					}
				})
			}
		}
	}
}

// TestSharedLeave lets many members leave while a message is on its way to one
// of them: however often it has to look for another, it gets there.
func TestSharedLeave(t *testing.T) {
	const shards, members = 4, 40
	w := sharedWorld(t, false, shards)
	var all []*peer
	for i := range members {
		p := w.connect(packet.V5, clientOn(i%shards, shards, fmt.Sprint("m", i, "-")))
		p.subscribe("$share/g/t", 1)
		all = append(all, p)
	}
	pub := w.connect(packet.V5, clientOn(0, shards, "pub"))
	pub.offerOnly((&packet.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 1, ID: 1}).Append(nil, packet.V5))
	leave := (&packet.Disconnect{}).Append(nil, packet.V5)
	s := func(i int) *shard { return w.b.shards[i%shards] }
	// Always the member that was picked leaves before its shard gets the message:
	// they are picked in turn.
	for range members - 1 {
		all[0].offerOnly(leave)
		all = all[1:]
		w.settle()
		for i := range shards {
			s(i).Turn(w.now)
		}
	}
	w.turn()
	all[0].want("x")
	if c := w.b.Counters(); c.DroppedGroup != 0 {
		t.Errorf("%d messages dropped", c.DroppedGroup)
	}
}

// backlog publishes to a group whose members are away.
func backlog(pub *peer, from, to int, qos packet.QoS) {
	for i := from; i < to; i++ {
		pub.publish("t", fmt.Sprint(i), qos, false)
		if qos == 2 {
			pub.bytes((&packet.Ack{Type: packet.PUBREL, ID: 9}).Append(nil, packet.V5))
		}
		pub.out = nil
	}
}

// TestGroupQueue lets messages wait for a group without a connected member. Members
// that connect get their shares, in order, over a restart too, and what comes
// meanwhile comes behind.
func TestGroupQueue(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, shards := range []int{1, 2, 5} {
			for _, qos := range []packet.QoS{1, 2} {
				t.Run(fmt.Sprintf("durable=%v/shards=%d/qos=%d", durable, shards, qos), func(t *testing.T) {
					groupQueue(t, durable, shards, qos)
				})
			}
		}
	}
}

func groupQueue(t *testing.T, durable bool, shards int, qos packet.QoS) {
	const n = 600
	backend := memstore.New()
	cfg := quietly(shards)
	w := newWorld(t, cfg)
	if durable {
		w, _ = onShards(t, backend, cfg, true)
	}
	ids := []string{clientOn(0, shards, "a"), clientOn(shards-1, shards, "b"), clientOn(shards/2, shards, "c")}
	for _, id := range ids {
		p, _, _ := w.join(id, expires(3600))
		p.subscribe("$share/g/t", qos)
		p.hang()
	}
	pub := w.connect(packet.V5, clientOn(shards-1, shards, "pub"))
	backlog(pub, 0, n, qos)
	if durable {
		if got := w.b.Counters().Stored; got != n {
			t.Errorf("%d messages are stored, want %d", got, n)
		}
		shards = shards%4 + 1
		w, _ = onShards(t, backend, quietly(shards), true) // after a crash
		pub = w.connect(packet.V5, "pub")
	}
	got := map[string]int{}
	var members []*peer
	for i, id := range ids {
		p, present, _ := w.join(id, expires(3600))
		if !present {
			t.Fatal("no session")
		}
		members = append(members, p)
		if i == 0 {
			backlog(pub, n, n+10, qos)
		}
	}
	counts := make([]int, len(members))
	last := make([]int, len(members))
	for range 4 * n {
		for i, p := range members {
			m, ok := p.silent()
			if !ok {
				continue
			}
			got[string(m.Payload)]++
			counts[i]++
			var k int
			fmt.Sscan(string(m.Payload), &k)
			if k < last[i] {
				t.Errorf("%s got %d after %d", ids[i], k, last[i])
			}
			last[i] = k
			if m.QoS == 1 {
				p.bytes((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, packet.V5))
			} else {
				p.bytes((&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, packet.V5))
			}
			p.release()
		}
	}
	for i := range n + 10 {
		if got[fmt.Sprint(i)] != 1 {
			t.Errorf("message %d came %d times", i, got[fmt.Sprint(i)])
		}
	}
	for i, c := range counts {
		if c < n/len(members)/2 {
			t.Errorf("%s got %d of %d messages", ids[i], c, n+10)
		}
	}
	w.turn()
	c := w.b.Counters()
	if c.Stored != 0 || c.StoredBytes != 0 || c.DroppedGroup != 0 {
		t.Errorf("%d messages stored with %d bytes, %d dropped; want none", c.Stored, c.StoredBytes, c.DroppedGroup)
	}
}

// release answers PUBREL packets, wherever they are in what has come.
func (p *peer) release() {
	var rest []byte
	for len(p.out) > 0 {
		first, body, size, _ := packet.Split(p.out, packet.MaxSize)
		if size == 0 {
			break
		}
		if packet.TypeOf(first) != packet.PUBREL {
			rest = append(rest, p.out[:size]...)
			p.out = p.out[size:]
			continue
		}
		var a packet.Ack
		if err := a.Decode(p.version, first, append([]byte(nil), body...)); err != nil {
			p.w.t.Fatal(err)
		}
		p.out = p.out[size:]
		p.offerOnly((&packet.Ack{Type: packet.PUBCOMP, ID: a.ID}).Append(nil, p.version))
	}
	p.out = append(rest, p.out...)
}

// TestGroupQueueEnds lets the last member leave while messages wait: they go with
// the group, and are counted. A crash in between brings nothing back.
func TestGroupQueueEnds(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, how := range []string{"UNSUBSCRIBE", "clean start", "expiry"} {
			t.Run(fmt.Sprintf("durable=%v/%s", durable, how), func(t *testing.T) {
				const n = 100
				backend := memstore.New()
				cfg := quietly(3)
				w := newWorld(t, cfg)
				if durable {
					w, _ = onShards(t, backend, cfg, true)
				}
				p, _, _ := w.join("m", expires(10))
				p.subscribe("$share/g/t", 1)
				p.hang()
				pub := w.connect(packet.V5, "pub")
				backlog(pub, 0, n, 1)
				kept := 0
				switch how {
				case "UNSUBSCRIBE":
					p, _, _ = w.join("m", expires(10), func(c *packet.Connect) {
						c.Properties.ReceiveMaximum = 5
						c.Properties.Set(packet.PropReceiveMaximum)
					})
					kept = 5 // it may get what it has begun to
					p.bytes((&packet.Unsubscribe{ID: 3, Filters: [][]byte{[]byte("$share/g/t")}}).Append(nil, packet.V5))
				case "clean start":
					w.connect(packet.V5, "m")
				default:
					w.pass(11 * time.Second)
				}
				w.turn()
				c := w.b.Counters()
				if want := n - kept; c.DroppedGroup != uint64(want) || durable && c.Stored != uint64(kept) {
					t.Errorf("%d messages dropped, %d stored; want %d and %d", c.DroppedGroup, c.Stored, want, kept)
				}
				if !durable {
					return
				}
				w, _ = onShards(t, backend, cfg, true)
				w.turn()
				if c := w.b.Counters(); c.Stored != uint64(kept) || c.DroppedGroup != 0 {
					t.Errorf("after a restart: %d messages stored, %d dropped", c.Stored, c.DroppedGroup)
				}
			})
		}
	}
}

// TestGroupQueueLeft finds two queues of one shared subscription on disk: one of a group
// that ended in the moment of the crash, and that of the group which is there now.
func TestGroupQueueLeft(t *testing.T) {
	const n = 10
	backend := memstore.New()
	cfg := quietly(3)
	w, st := onShards(t, backend, cfg, true)
	left := st.NextSession()
	p, _, _ := w.join("m", expires(60))
	p.subscribe("$share/g/t", 1)
	p.hang()
	backlog(w.connect(packet.V5, "pub"), 0, n, 1)
	turn := st.Turn()
	turn.PutSession(&store.Session{Number: left, ClientID: store.QueueID("$share/g/t"), Expiry: never})
	st.Submit(0, turn)
	st.Step()

	w, _ = onShards(t, backend, cfg, true)
	p, _, _ = w.join("m", expires(60))
	got := 0
	for _, ok := p.message(); ok; _, ok = p.message() {
		got++
	}
	if c := w.b.Counters(); got != n || c.DroppedGroup != 0 {
		t.Errorf("%d messages came of %d, %d were dropped", got, n, c.DroppedGroup)
	}
}

// TestGroupRoom fills the windows of all members: what comes then waits with the
// group and goes to whoever has room first, not to a member that does nothing.
// Without a lasting member, or by the setting, it waits with the members.
func TestGroupRoom(t *testing.T) {
	const n = 40
	window := func(c *packet.Connect) {
		c.Properties.ReceiveMaximum = 4
		c.Properties.Set(packet.PropReceiveMaximum)
	}
	for _, tt := range []struct {
		name   string
		expiry uint32
		queue  string
		idle   int // messages that the member which does nothing keeps
	}{
		{"with the group", 60, settings.WithGroup, 4},
		{"setting", 60, settings.WithMember, n / 2},
		{"no lasting member", 0, settings.WithGroup, n / 2},
	} {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%v", tt.name, durable), func(t *testing.T) {
				w := sharedWorld(t, durable, 3, func(c *setup) { c.Session.SharedQueue = tt.queue })
				idle, _, _ := w.join("idle", expires(tt.expiry), window)
				busy, _, _ := w.join("busy", expires(tt.expiry), window)
				idle.subscribe("$share/g/t", 1)
				busy.subscribe("$share/g/t", 1)
				pub := w.connect(packet.V5, "pub")
				backlog(pub, 0, n, 1)
				got := 0
				for _, ok := busy.message(); ok; _, ok = busy.message() {
					got++
				}
				if want := n - tt.idle; got != want {
					t.Errorf("the member that works got %d messages, want %d", got, want)
				}
				for _, ok := idle.message(); ok; _, ok = idle.message() {
					got++
				}
				if got != n {
					t.Errorf("%d messages came, want %d", got, n)
				}
			})
		}
	}
}

// TestGroupQueueBounded fills the queue of a group past its limits.
func TestGroupQueueBounded(t *testing.T) {
	for _, durable := range []bool{false, true} {
		w := sharedWorld(t, durable, 2, func(c *setup) { c.Session.QueuedMessages, c.Session.StoredMessages = 10, 10 })
		p, _, _ := w.join("m", expires(60))
		p.subscribe("$share/g/t", 1)
		p.hang()
		backlog(w.connect(packet.V5, "pub"), 0, 25, 1)
		if c := w.b.Counters(); c.DroppedQueue != 15 {
			t.Errorf("durable %v: %d messages dropped, want 15", durable, c.DroppedQueue)
		}
		p, _, _ = w.join("m", expires(60))
		for i := 15; i < 25; i++ {
			p.want(fmt.Sprint(i))
		}
		p.quiet()
	}
}
