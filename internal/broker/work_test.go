package broker

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// storm is what one client sends in one write.
type storm struct {
	name     string
	packet   func(i int) []byte
	most     int // work of one packet
	receives packet.Type
}

// TestStorms lets a client send as much as a socket holds, or 500, of each request
// that costs more than it weighs. No call does much more work than a turn may
// have, a ping of another client is answered in the same turn, and in the end all
// is done.
func TestStorms(t *testing.T) {
	const v = packet.V5
	receivers, retained := 1000, 3000
	if testing.Short() { // with the race detector it would take an hour
		receivers, retained = 50, 150
	}
	filters := make([]packet.Subscription, 1000)
	names := make([][]byte, len(filters))
	for i := range filters {
		names[i] = fmt.Appendf(nil, "f/%d/+", i)
		filters[i].Filter = names[i]
	}
	publish := func(p packet.Publish) func(int) []byte {
		return func(i int) []byte {
			p.ID = packet.ID(i%60_000 + 1)
			return p.Append(nil, v)
		}
	}
	for _, st := range []storm{
		{"PUBLISH to many", publish(packet.Publish{Topic: []byte("many")}), receivers, 0},
		{"PUBLISH to nobody", publish(packet.Publish{Topic: []byte("x")}), 1, 0},
		{"PUBLISH retained", publish(packet.Publish{Topic: []byte("r/1"), Payload: []byte("x"), Retain: true}), setupWork, 0},
		{"PINGREQ", func(int) []byte { return []byte{0xc0, 0} }, 1, packet.PINGRESP},
		{"SUBSCRIBE to all", func(i int) []byte {
			p := packet.Subscribe{ID: packet.ID(i%60_000 + 1), Subscriptions: []packet.Subscription{{Filter: []byte("#")}}}
			return p.Append(nil, v)
		}, peek + setupWork, packet.SUBACK},
		{"SUBSCRIBE to much, in turn", func(i int) []byte {
			p := packet.Subscribe{ID: packet.ID(i%60_000 + 1), Subscriptions: []packet.Subscription{{Filter: fmt.Appendf(nil, "r/#")}}}
			if i%2 > 0 {
				p.Subscriptions[0].Filter = []byte("+/+")
			}
			return p.Append(nil, v)
		}, peek + setupWork, packet.SUBACK},
		{"SUBSCRIBE and UNSUBSCRIBE", func(i int) []byte {
			p := packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: fmt.Appendf(nil, "r/%d/#", i)}}}
			return (&packet.Unsubscribe{ID: 1, Filters: [][]byte{p.Subscriptions[0].Filter}}).Append(p.Append(nil, v), v)
		}, 2 * (peek + setupWork), packet.UNSUBACK},
		{"SUBSCRIBE many", func(int) []byte {
			return (&packet.Subscribe{ID: 1, Subscriptions: filters}).Append(nil, v)
		}, len(filters) * (setupWork + peek), packet.SUBACK},
		{"UNSUBSCRIBE many", func(int) []byte {
			return (&packet.Unsubscribe{ID: 1, Filters: names}).Append(nil, v)
		}, len(filters) * setupWork, packet.UNSUBACK},
	} {
		for _, shards := range []int{1, 2} { // of the same client, and of others
			t.Run(fmt.Sprintf("%s/shards=%d", st.name, shards), func(t *testing.T) {
				w := newWorld(t, quietly(shards))
				for i := range receivers {
					p := w.dial(packet.V311)
					p.discard = true
					connect := packet.Connect{Version: packet.V311, ClientID: fmt.Append(nil, "receiver", i), CleanStart: true}
					p.offerOnly(append(connect.Append(nil), subscribeTo("many")(packet.V311)...))
				}
				pub := w.connect(v, "pub")
				for i := range retained {
					pub.offerOnly((&packet.Publish{Topic: fmt.Append(nil, "r/", i), Payload: []byte("v"), Retain: true}).Append(nil, v))
				}
				for len(pub.in) > 0 {
					w.turn()
				}
				if c := w.b.Counters(); c.Subscriptions != uint64(receivers) || c.Retained != uint64(retained) {
					t.Fatalf("%d subscriptions, %d retained messages", c.Subscriptions, c.Retained)
				}
				other := w.connect(v, "other")
				bad := w.connect(v, "bad")
				packets, answers, last := 0, 0, 0
				for len(bad.in) < 64<<10 && packets < 500 {
					b := st.packet(packets)
					bad.in = append(bad.in, b...)
					packets++
				}
				before := w.b.Counters().PacketsReceived
				for turns := 0; len(bad.in) > 0; turns++ {
					if turns > 20_000 {
						t.Fatalf("%d bytes are never read", len(bad.in))
					}
					for _, s := range w.b.shards {
						start := s.work
						if !bad.paused && bad.shard == s.index {
							bad.offer()
						}
						if other.shard == s.index {
							other.in = []byte{0xc0, 0}
							other.offer()
						}
						s.Turn(w.now)
						last = max(last, s.work-start)
					}
					w.now++
					for _, p := range w.conns {
						p.write()
					}
					answers += bad.count(st.receives)
					if other.next(packet.PINGRESP) == nil {
						t.Fatalf("turn %d: another client's ping is not answered", turns)
					}
				}
				w.turn()
				answers += bad.count(st.receives)
				if most := 3*turnWork + 2*st.most; last > most {
					t.Errorf("a turn had work of %d, %d at most", last, most)
				}
				if n := int(w.b.Counters().PacketsReceived - before); bad.closed || n < packets {
					t.Errorf("%d of %d packets are done, closed %t", n, packets, bad.closed)
				}
				if answers < packets && st.receives != 0 {
					t.Errorf("%d of %d answers came", answers, packets)
				}
			})
		}
	}
}

// count takes all that has come, and counts the packets of a type.
func (p *peer) count(of packet.Type) (n int) {
	b := p.out
	for len(b) > 0 {
		first, _, size, err := packet.Split(b, packet.MaxSize)
		if err != nil {
			p.w.t.Fatalf("the broker sent nonsense: %v", err)
		}
		if size == 0 {
			break
		}
		if packet.TypeOf(first) == of {
			n++
		}
		b = b[size:]
	}
	p.out = append(p.out[:0], b...)
	return n
}

// TestRepeatedSubscribe asks for all retained messages again and again, with one
// filter and with many, and reads nothing; or acknowledges nothing, so that it is
// read although a walk waits for room in its queue.
func TestRepeatedSubscribe(t *testing.T) {
	const retained, requests = 3000, 20_000
	for name, filter := range map[string]func(i int) string{
		"one filter":    func(int) string { return "#" },
		"many filters":  func(i int) string { return "+" + strings.Repeat("/+", i%100) + "/#" },
		"gone at once":  func(i int) string { return fmt.Sprintf("r/%d/#", i) },
		"much and more": func(i int) string { return []string{"#", "r/#", "+/+", "+/#"}[i%4] },
	} {
		for qos := range packet.QoS(2) {
			t.Run(fmt.Sprintf("%s/qos=%d", name, qos), func(t *testing.T) { repeatedSubscribe(t, name, filter, qos, retained, requests) })
		}
	}
}

func repeatedSubscribe(t *testing.T, name string, filter func(i int) string, qos packet.QoS, retained, requests int) {
	w := newWorld(t, quietly(1))
	pub := w.connect(packet.V5, "pub")
	for i := range retained {
		pub.publish(fmt.Sprint("r/", i), "v", qos, true)
	}
	bad := w.connect(packet.V5, "bad")
	bad.deaf, bad.discard = qos == 0, qos > 0
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range requests {
		if bad.closed || bad.paused {
			w.now++
			w.turn()
		}
		if bad.closed {
			break
		}
		f := []byte(filter(i))
		b := (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: f, QoS: qos}}}).Append(nil, packet.V5)
		if name == "gone at once" {
			b = (&packet.Unsubscribe{ID: 1, Filters: [][]byte{f}}).Append(b, packet.V5)
		}
		bad.in = append(bad.in, b...)
		if !bad.paused {
			bad.offer()
		}
		if len(bad.in) > 64<<10 {
			break // it is not read: the engine and TCP hold the rest back
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 6<<20 {
		t.Errorf("memory has grown by %d kB", grown>>10)
	}
	for _, wk := range w.b.shards[0].walks.byClient {
		if len(wk.order) > 2*wk.client.subs.Weight()+17 {
			t.Errorf("%d walks wait for %d subscriptions", len(wk.order), wk.client.subs.Weight())
		}
	}
	bad.deaf = false
	for range 200 {
		w.now++
		w.turn()
	}
	bad.hang()
	if n := len(w.b.shards[0].walks.byClient); n > 0 {
		t.Errorf("%d walkers are left", n)
	}
}

// TestRepeatedFilter names one filter many times in a packet: each time takes the
// place of the walk before, so that only what that had sent comes twice (MQTT-3.8.4-3).
func TestRepeatedFilter(t *testing.T) {
	const retained, times = 1000, 100
	w := newWorld(t, quietly(1))
	pub := w.connect(packet.V5, "pub")
	for i := range retained {
		pub.publish(fmt.Sprint("r/", i), "v", 0, true)
	}
	p := packet.Subscribe{ID: 1, Subscriptions: make([]packet.Subscription, times)}
	for i := range p.Subscriptions {
		p.Subscriptions[i].Filter = []byte("r/#")
	}
	sub := w.connect(packet.V5, "sub")
	sub.offerOnly(p.Append(nil, packet.V5))
	wk := w.b.shards[0].walks.byClient[sub.state.(*conn).client]
	if wk == nil || len(wk.order) != 1 {
		t.Fatalf("the walk is %+v, want one that has begun anew", wk)
	}
	w.turn()
	for range 20 {
		w.now++
		w.turn()
	}
	sub.next(packet.SUBACK)
	got := map[string]int{}
	n := 0
	for m, ok := sub.message(); ok; m, ok = sub.message() {
		got[string(m.Topic)]++
		n++
	}
	if len(got) != retained || n <= retained || n > retained+peek {
		t.Errorf("%d messages of %d topics, want one of each of %d, and again what had come before: %d at most", n, len(got), retained, peek)
	}
}

// TestWalkShare sends many clients all retained messages, or one: a turn does no more
// than its share of it, so that others don't wait, and less when there is other
// work.
func TestWalkShare(t *testing.T) {
	const retained = 5 * walkWork
	for _, clients := range []int{1, 5, 100} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			w := newWorld(t, quietly(1, func(c *setup) { c.Limits.PendingBytes = 64 << 20 }))
			s := w.b.shards[0]
			pub := w.connect(packet.V311, "pub")
			for i := range retained / clients {
				pub.offerOnly((&packet.Publish{Topic: fmt.Append(nil, "r/", i), Payload: []byte("v"), Retain: true}).Append(nil, packet.V311))
			}
			subs := make([]*peer, clients)
			for i := range subs {
				subs[i] = w.connect(packet.V311, fmt.Sprint("sub", i))
				subs[i].discard = true
			}
			if c := w.b.Counters(); c.Retained != retained/uint64(clients) {
				t.Fatalf("%d retained messages", c.Retained)
			}
			for _, sub := range subs {
				sub.offerOnly(subscribeTo("r/#")(packet.V311))
			}
			// A message is two units of work: a topic that is looked at, and a receiver.
			const maximum = walkWork/2 + atOnce
			for turn := 0; len(s.walks.order) > 0; turn++ {
				before := s.count.PublishSent
				w.now++
				s.Turn(w.now)
				if got := s.count.PublishSent - before; got > maximum {
					t.Fatalf("turn %d sent %d messages, want %d at most", turn, got, maximum)
				}
				for _, p := range w.conns {
					p.write()
				}
			}
			if want := uint64(retained / clients * clients); s.count.PublishSent != want {
				t.Errorf("%d messages were sent, want %d", s.count.PublishSent, want)
			}
		})
	}
}

// TestWalkMeanwhile changes retained messages while a client is being sent them.
func TestWalkMeanwhile(t *testing.T) {
	w := newWorld(t, quietly(1, func(c *setup) { c.Limits.PendingBytes = 4096 }))
	pub := w.connect(packet.V311, "pub")
	const n = 1000
	for i := range n {
		pub.publish(fmt.Sprint("r/", i), "old", 0, true)
	}
	sub := w.connect(packet.V311, "sub")
	sub.deaf = true
	sub.bytes((&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("r/#")}}}).Append(nil, packet.V311))
	if !sub.paused {
		t.Fatal("the client is read although it has an open walk")
	}
	for i := range n {
		switch i % 4 {
		case 0:
			pub.publish(fmt.Sprint("r/", i), "new", 0, true)
		case 1:
			pub.publish(fmt.Sprint("r/", i), "", 0, true)
		}
	}
	sub.deaf = false
	for range 300 {
		w.now++
		w.turn()
	}
	live := w.b.Counters().DroppedSlow // it was deaf
	old := map[string]int{}
	sub.next(packet.SUBACK)
	for {
		m, ok := sub.message()
		if !ok {
			break
		}
		if m.Retain && string(m.Payload) == "new" {
			t.Errorf("%s came as retained, although it is newer than the subscription", m.Topic)
		}
		if m.Retain {
			old[string(m.Topic)]++
		}
	}
	for i := range n {
		topic := fmt.Sprint("r/", i)
		if got := old[topic]; got > 1 || got == 0 && i%4 > 1 {
			t.Errorf("%s came %d times", topic, got)
		}
	}
	if live == 0 || sub.paused {
		t.Errorf("dropped %d, paused %t: the test proves nothing, or the client waits for ever", live, sub.paused)
	}
	sub.publish("r/x", "x", 0, false)
	sub.want("x")
}

// clumsy is an Authenticator with a fault, and Permissions.
type clumsy struct{ at string }

func (c *clumsy) fail(at string) {
	if c.at == at {
		panic("clumsy")
	}
}

func (c *clumsy) Connect(_ Request, done func(Verdict)) {
	c.fail("CONNECT")
	done(Verdict{Permissions: c})
}

func (c *clumsy) Publish([]byte, packet.QoS, bool) bool {
	c.fail("PUBLISH")
	return true
}

func (c *clumsy) Subscribe(string) bool {
	c.fail("SUBSCRIBE")
	return true
}

func (c *clumsy) Receive([]byte) bool { return true }

// TestPanic lets a packet meet a fault of the broker, before and after it has
// changed something.
func TestPanic(t *testing.T) {
	for _, tt := range []struct {
		name, at string
		send     []byte
		ends     packet.Type // what the client is told; 0: the process ends
	}{
		{"CONNECT", "CONNECT", (&packet.Connect{Version: packet.V5, ClientID: []byte("bad")}).Append(nil), packet.CONNACK},
		{"PUBLISH 0", "PUBLISH", publishing(packet.Publish{Topic: []byte("a")})(packet.V5), packet.DISCONNECT},
		{"PUBLISH 1", "PUBLISH", publishing(packet.Publish{Topic: []byte("a"), QoS: 1, ID: 1})(packet.V5), packet.DISCONNECT},
		{"PUBLISH 2", "PUBLISH", publishing(packet.Publish{Topic: []byte("a"), QoS: 2, ID: 1})(packet.V5), 0},
		{"SUBSCRIBE", "SUBSCRIBE", subscribeTo("a")(packet.V5), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			access := &clumsy{}
			w := newWorld(t, quietly(1, func(c *setup) { c.Authenticator = access }))
			good := w.connect(packet.V5, "good")
			good.subscribe("ok", 0)
			bad := w.dial(packet.V5)
			if tt.at != "CONNECT" {
				bad.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("bad")}).Append(nil))
				bad.next(packet.CONNACK)
			}
			access.at = tt.at
			text := func() (text string) {
				defer func() {
					if v := recover(); v != nil {
						text = fmt.Sprint(v)
					}
				}()
				bad.bytes(tt.send)
				return ""
			}()
			access.at = ""
			if tt.ends == 0 {
				if want := "midge: shard 0: " + tt.at + ` from client "bad" at 127.0.0.1:4711: clumsy`; text != want {
					t.Errorf("the process ended with %q, want %q", text, want)
				}
				return
			}
			if text != "" {
				t.Fatalf("the process ended: %s", text)
			}
			code := byte(packet.ImplementationSpecificError)
			if !bad.closed || packet.TypeOf(bad.out[0]) != tt.ends || !bytes.Contains(bad.out[:5], []byte{code}) {
				t.Errorf("closed %t, told % x", bad.closed, bad.out)
			}
			good.publish("ok", "still", 0, false)
			good.want("still")
			if c := w.b.Counters(); c.Panics != 1 {
				t.Errorf("%d panics are counted", c.Panics)
			}
		})
	}
}

// expire implements expirer.
func (c *clumsy) expire(*shard) { c.fail("turn") }

// TestPanicInTurn lets a turn meet a fault of the broker, which ends the process
// with a line that says where.
func TestPanicInTurn(t *testing.T) {
	w := newWorld(t, quietly(2))
	c := &clumsy{at: "turn"}
	w.b.shards[1].timers.start(&timer{owner: c}, w.now+tick)
	defer func() {
		if v, want := recover(), "midge: shard 1: in its turn: clumsy"; v != want {
			t.Errorf("the process ended with %v, want %s", v, want)
		}
	}()
	w.pass(time.Second)
}
