package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"midge/internal/engine"
	"midge/internal/packet"
	"midge/internal/store/memstore"
)

// measure is a measurement of memory that finds plenty.
func (w *world) measure(budget int64) {
	w.b.SetPressure(NoPressure, Memory{Used: 0, Budget: budget, Slow: 1 << 40, Full: 1 << 40})
	w.turn()
}

// passMeasured lets time pass, in which memory is measured twice a second.
func (w *world) passMeasured(d time.Duration, budget int64) {
	for end := w.now + d; w.now < end; {
		w.pass(min(500*time.Millisecond, end-w.now))
		w.measure(budget)
	}
}

// heldInput is what an engine holds of the input of all peers.
func (w *world) heldInput() (sum int64) {
	for _, p := range w.conns {
		if !p.closed {
			sum += int64(max(p.kept, p.room))
		}
	}
	return sum
}

// countedInput is what the broker knows of that, and more: packets that go on count
// as they are going to be.
func (w *world) countedInput() int64 {
	r := &w.b.memory.arrivals
	return r.otherBytes.Load() + r.going[largeArrival] + r.going[smallArrival]
}

// largePacket is a packet of a kind with so much content.
func largePacket(v packet.Version, kind string, size int) []byte {
	content := bytes.Repeat([]byte("x"), size)
	publish := func(qos packet.QoS, retain bool) []byte {
		m := packet.Publish{Topic: []byte("large"), Payload: content, QoS: qos, Retain: retain}
		if qos > 0 {
			m.ID = 3
		}
		return m.Append(nil, v)
	}
	switch kind {
	case "CONNECT":
		c := packet.Connect{Version: v, ClientID: []byte("large"), CleanStart: true, HasWill: true}
		c.Will.Topic, c.Will.Payload = []byte("large"), content[:min(size, 65_535)]
		return c.Append(nil)
	case "SUBSCRIBE":
		p := packet.Subscribe{ID: 3}
		for n := 0; n < size; n += 60_000 {
			p.Subscriptions = append(p.Subscriptions, packet.Subscription{Filter: content[:min(60_000, size-n)]})
		}
		return p.Append(nil, v)
	case "PUBLISH retained":
		return publish(1, true)
	}
	return publish(packet.QoS(kind[len(kind)-1]-'0'), false)
}

var largeKinds = []string{"PUBLISH QoS 0", "PUBLISH QoS 1", "PUBLISH QoS 2", "PUBLISH retained", "CONNECT", "SUBSCRIBE"}

// TestPacketsThatNeverEnd has many connections send all of a packet but its last
// byte. What is kept of them stays within its share of the budget; others are
// served in the meantime, with small messages at once and with a large one after
// those in front of it; and the ones that never end are closed for it, with the
// counter and the log, as long as they are in the way of anybody.
func TestPacketsThatNeverEnd(t *testing.T) {
	const budget = 8 << 20
	kinds := largeKinds
	if testing.Short() { // with the race detector all of them would take minutes
		kinds = []string{"PUBLISH QoS 1", "CONNECT"}
	}
	for _, kind := range kinds {
		for _, size := range []int{10_000, 64 << 10, 1<<20 - 100} {
			for _, durable := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d bytes/durable %v", kind, size, durable), func(t *testing.T) {
					var log strings.Builder
					set := func(c *setup) { c.Shards, c.Logger = 2, slog.New(slog.NewTextHandler(&log, nil)) }
					var w *world
					if durable {
						w, _ = onStore(t, memstore.New(), time.Now(), true, set)
					} else {
						w = newWorld(t, quietly(2, set))
					}
					w.measure(budget)
					one := largePacket(packet.V5, kind, size)
					peers := 8*budget/arrivalShare/len(one) + 10 // far more than there is room for
					reader := w.connect(packet.V5, "reader")
					reader.subscribe("#", 0)
					other := w.connect(packet.V5, "other")
					var hostile []*peer
					for i := range peers {
						var p *peer
						if kind == "CONNECT" {
							p = w.dial(packet.V5)
						} else {
							p = w.connect(packet.V5, fmt.Sprint("hostile", i))
						}
						p.offerOnly(one[:len(one)-1])
						hostile = append(hostile, p)
					}
					most := int64(3*budget/arrivalShare+len(one)+len(hostile)*engine.ThrottledBytes) + 2*(64<<10)
					check := func() {
						t.Helper()
						w.turn() // who may go on knows
						held := w.heldInput()
						if held > most {
							t.Fatalf("%d bytes are held for packets, want at most %d", held, most)
						}
						if counted := w.countedInput(); counted < held {
							t.Fatalf("%d bytes are counted, %d are held", counted, held)
						}
					}
					check()
					w.measure(budget)
					check()
					other.publish("small", "x", 0, false)
					reader.want("x")
					other.offerOnly(largePacket(packet.V5, "PUBLISH QoS 0", 1<<20-100))
					got := func() bool {
						m, ok := reader.message()
						return ok && len(m.Payload) == 1<<20-100
					}
					seconds := 0
					for ; !got(); seconds++ {
						if seconds > 300 {
							t.Fatal("a large message of somebody else does not come")
						}
						w.passMeasured(time.Second, budget)
						check()
					}
					t.Logf("the large message came after %d seconds", seconds)
					w.passMeasured(10*time.Second, budget)
					check()
					closed := 0
					for _, p := range hostile {
						if p.closed {
							closed++
						}
					}
					c := w.b.Counters()
					if want := c.ClosedArrivals + c.ConnectTimeouts; closed == 0 || uint64(closed) != want {
						t.Errorf("%d closed, %d counted", closed, want)
					}
					if c.ClosedArrivals > 0 && !strings.Contains(log.String(), "the rest of a packet does not come") {
						t.Errorf("the log says nothing:\n%s", log.String())
					}
					if c.PausedArrivals == 0 {
						t.Error("nobody waited")
					}
					for _, p := range w.conns {
						p.hang()
					}
					if n, left := w.countedInput(), w.b.memory.arrivals.waits.Load(); n != 0 || left != 0 {
						t.Errorf("%d bytes and %d waiting are left after the end of all", n, left)
					}
				})
			}
		}
	}
}

// TestLargePacketsTakeTurns has many publishers send large messages at once, with
// and without pressure, and with memory used up: all of them get through, nobody
// is closed, and never is more held than there is room for.
func TestLargePacketsTakeTurns(t *testing.T) {
	const budget, publishers, size = 64 << 20, 60, 1<<20 - 100
	for _, now := range []struct {
		name     string
		pressure Pressure
		memory   Memory
	}{
		{"plenty", NoPressure, Memory{Budget: budget, Slow: 1 << 40, Full: 1 << 40}},
		{"publishers are slowed", SlowPublishers, Memory{Budget: budget, Slow: -1, Full: 1 << 20}},
		{"used up", CloseReaders, Memory{Budget: budget, Slow: -1, Full: -1}},
	} {
		for qos := range packet.QoS(3) {
			if testing.Short() && qos != 1 { // with the race detector all of them would take minutes
				continue
			}
			t.Run(fmt.Sprintf("%s/QoS %d", now.name, qos), func(t *testing.T) {
				w := newWorld(t, quietly(4))
				w.measure(budget)
				var all []*peer
				for i := range publishers {
					all = append(all, w.connect(packet.V311, fmt.Sprint("p", i)))
				}
				w.b.SetPressure(now.pressure, now.memory)
				w.turn()
				for _, p := range all {
					p.offerOnly(largePacket(packet.V311, fmt.Sprint("PUBLISH QoS ", qos), size))
				}
				done := func() (n int) {
					for _, p := range all {
						if len(p.in) == 0 {
							n++
						}
					}
					return n
				}
				rounds := 0
				for ; done() < publishers; rounds++ {
					if rounds > 10*publishers {
						t.Fatalf("%d of %d have got through", done(), publishers)
					}
					if n := w.heldInput(); n > 3*budget/arrivalShare+size+publishers*engine.ThrottledBytes {
						t.Fatalf("%d bytes are held", n)
					}
					w.now += 20 * time.Millisecond
					w.b.SetPressure(now.pressure, now.memory)
					w.turn()
				}
				w.turn()
				c := w.b.Counters()
				if c.ClosedArrivals+c.ClosedMemory+c.Faults != 0 || c.PublishReceived != publishers {
					t.Errorf("%d of %d messages, %d closed", c.PublishReceived, publishers, c.ClosedArrivals+c.ClosedMemory+c.Faults)
				}
				if n := w.countedInput(); n != 0 {
					t.Errorf("%d bytes are held after the end", n)
				}
			})
		}
	}
}

// TestSlowSenders has peers send a large packet bit by bit. While there is room
// for all nobody is closed, however slow. While others wait, those are that send
// too little, and a slow network's are not.
func TestSlowSenders(t *testing.T) {
	const budget = 8 << 20
	for _, tt := range []struct {
		name  string
		rate  int // bytes a second
		waits bool
		stays bool
	}{
		{"nothing comes, nobody waits", 0, false, true},
		{"a byte in a while, nobody waits", 10, false, true},
		{"nothing comes", 0, true, false},
		{"a byte in a while", 10, true, false},
		{"2 kB a second", 2000, true, false},
		{"a slow network", 4000, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, quietly(2))
			w.measure(budget)
			one := largePacket(packet.V5, "PUBLISH QoS 1", 1<<20-100)
			slow := w.connect(packet.V5, "slow")
			slow.offerOnly(one[:600_000])
			sent := 600_000
			others, left := make([]*peer, 4), make([][]byte, 4)
			for i := range 600 {
				for k := range others { // more than there is room for, and nobody can blame them
					if !tt.waits {
						break
					}
					if len(left[k]) == 0 {
						others[k], left[k] = w.connect(packet.V5, fmt.Sprint("other", i, k)), one
					}
					n := min(5000, len(left[k]))
					others[k].offerOnly(left[k][:n])
					left[k] = left[k][n:]
				}
				w.passMeasured(100*time.Millisecond, budget)
				if slow.closed {
					break
				}
				if next := 600_000 + tt.rate*(i+1)/10; next > sent && next < len(one) {
					slow.offerOnly(one[sent:next])
					sent = next
				}
			}
			if slow.closed == tt.stays {
				t.Errorf("closed %v after %v", slow.closed, w.now)
			}
			if slow.closed && w.now > 10*time.Second {
				t.Errorf("closed only after %v", w.now)
			}
		})
	}
}

// TestArrivalsAtRandom sends packets of all sizes in pieces of all sizes, in any
// order, with ends in between and measurements of all kinds: what is counted is
// what is held, and those who have sent all of their packets get through.
func TestArrivalsAtRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	const budget = 16 << 20
	w := newWorld(t, quietly(4))
	w.measure(budget)
	type sender struct {
		*peer
		left []byte // of what it is going to send
	}
	var all []*sender
	sent, lost := 0, 0
	for step := range 4000 {
		switch x := rng.IntN(100); {
		case x < 5 || len(all) == 0:
			s := &sender{peer: w.dial(packet.V5)}
			s.left = largePacket(packet.V5, "CONNECT", rng.IntN(65_000))
			s.left = bytes.Replace(s.left, []byte("large"), fmt.Appendf(nil, "%05d", step), 1)
			all = append(all, s)
		case x < 10:
			if s := all[rng.IntN(len(all))]; len(s.left) == 0 && !s.closed {
				for range 1 + rng.IntN(3) {
					s.left = append(s.left, largePacket(packet.V5, "PUBLISH QoS 0", rng.IntN(1<<rng.IntN(20)))...)
					sent++
				}
			}
		case x < 11:
			i := rng.IntN(len(all))
			all[i].hang()
			lost += 3
			all = append(all[:i], all[i+1:]...)
		case x < 14:
			p := Pressure(rng.IntN(4))
			room := int64(1<<40) * int64(rng.IntN(3)-1)
			w.b.SetPressure(p, Memory{Budget: budget, Slow: room, Full: room})
			w.turn()
		case x < 20:
			w.turn()
		default:
			s := all[rng.IntN(len(all))]
			n := min(len(s.left), 1+rng.IntN(1<<rng.IntN(20)))
			s.bytes(s.left[:n])
			s.left = s.left[n:]
		}
		if counted, held := w.countedInput(), w.heldInput(); counted < held {
			t.Fatalf("step %d: %d bytes are counted, %d are held", step, counted, held)
		}
	}
	for _, s := range all {
		s.bytes(s.left)
	}
	for range 3 * len(all) { // at most one at a time goes on, or so
		w.now += 20 * time.Millisecond
		w.measure(budget)
	}
	for i, s := range all {
		if len(s.in) > 0 && !s.closed {
			t.Errorf("sender %d is left with %d bytes", i, len(s.in))
		}
	}
	r := &w.b.memory.arrivals
	if w.countedInput() != 0 || r.waits.Load() != 0 {
		t.Errorf("%d bytes are held and %d wait after the end", w.countedInput(), r.waits.Load())
	}
	if c := w.b.Counters(); c.Faults > 0 || c.PublishReceived+uint64(lost) < uint64(sent) {
		t.Errorf("%d messages came of %d, %d faults", c.PublishReceived, sent, c.Faults)
	}
}

// TestLargePacketsAreForgotten looks at what a shard decodes into, after it has
// handled a large packet or got the message of one: nothing is left of it in the
// next turn.
func TestLargePacketsAreForgotten(t *testing.T) {
	for _, kind := range largeKinds {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, quietly(2))
			reader := w.connect(packet.V5, clientOn(1, 2, "reader"))
			reader.subscribe("large", 0)
			p := w.dial(packet.V5)
			if kind != "CONNECT" {
				p = w.connect(packet.V5, clientOn(0, 2, "p"))
			}
			p.bytes(largePacket(packet.V5, kind, 100_000))
			if kind[0] == 'P' {
				if m, ok := reader.message(); !ok || len(m.Payload) != 100_000 {
					t.Error("the message has not come")
				}
			}
			for _, s := range w.b.shards {
				left := len(s.packets.publish.Payload) + len(s.fanout.head.Payload) + len(s.message.Payload) + len(s.unpacked.Payload) + len(s.packets.connect.Will.Payload)
				left += cap(s.packets.subscribe.Subscriptions)
				if s.fanout.cloner.Borrowed != nil {
					left += s.fanout.cloner.Borrowed.Size()
				}
				if left > 1000 {
					t.Errorf("shard %d keeps %d bytes", s.index, left)
				}
			}
		})
	}
}

// TestConnSize keeps a connection in its size class.
func TestConnSize(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 96 {
		t.Errorf("conn has %d bytes, want at most 96", size)
	}
}
