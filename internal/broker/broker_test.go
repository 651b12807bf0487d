package broker

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

var quietConfig = quietly(4)

func expires(seconds uint32) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.CleanStart = false
		c.Properties.SessionExpiry = seconds
		c.Properties.Set(packet.PropSessionExpiry)
	}
}

func withWill(delay uint32) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.HasWill = true
		c.Will = packet.Will{Topic: []byte("will"), Payload: []byte("gone"), QoS: 1, Delay: delay}
	}
}

func TestDelivery(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for qos := range packet.QoS(3) {
			t.Run(fmt.Sprintf("%v/qos%d", v, qos), func(t *testing.T) {
				w := newWorld(t, quietConfig)
				var subs []*peer
				for i := range 8 { // all shards
					p := w.connect(v, fmt.Sprint("sub", i))
					if code := p.subscribe("a/+", qos); code != packet.ReasonCode(qos) {
						t.Fatalf("SUBACK 0x%02x", code)
					}
					subs = append(subs, p)
				}
				pub := w.connect(v, "pub")
				pub.publish("a/b", "hello", qos, false)
				for _, p := range subs {
					if m := p.want("hello"); m.QoS != qos {
						t.Errorf("QoS %d", m.QoS)
					}
					p.quiet()
				}
				if want := []packet.Type{0, packet.PUBACK, packet.PUBREC}[qos]; qos > 0 && pub.next(want) == nil {
					t.Error("no acknowledgement")
				}
				pub.quiet()
			})
		}
	}
}

// TestLarge sends messages across shards that are copied, cloned or share the buffer
// of their input, several in one, to receivers at each QoS, one of which is away and
// comes back for its messages.
func TestLarge(t *testing.T) {
	for _, size := range []int{1, 4 << 10, copyBelow - 10, copyBelow, copyBelow + 1, 3 * copyBelow, 200_000} {
		for _, qos := range []packet.QoS{0, 1, 2} {
			t.Run(fmt.Sprint(size, " bytes, QoS ", qos), func(t *testing.T) {
				w := newWorld(t, quietConfig)
				pub := w.connect(packet.V5, "pub")
				var subs []*peer
				for i := range 8 {
					subs = append(subs, w.connect(packet.V5, fmt.Sprint("s", i)))
					subs[i].subscribe("#", packet.QoS(i%3))
				}
				away := w.connect(packet.V5, "away", expires(60))
				away.subscribe("#", 1)
				away.leave(60)
				var input []byte
				payload := func(i int) string { return strings.Repeat(fmt.Sprint(i), size) }
				for i := range 5 {
					m := packet.Publish{Topic: []byte("a"), Payload: []byte(payload(i)), QoS: qos, Retain: i == 4}
					if qos > 0 {
						m.ID = packet.ID(i + 1)
					}
					input = m.Append(input, pub.version)
				}
				pub.bytes(input)
				if away = w.connect(packet.V5, "away", expires(60)); qos > 0 {
					subs = append(subs, away)
				}
				for _, p := range subs {
					for i := range 5 {
						p.want(payload(i))
					}
				}
				late := w.connect(packet.V5, "late")
				late.subscribe("a", 0)
				late.want(payload(4))
			})
		}
	}
}

func TestOverlap(t *testing.T) {
	w := newWorld(t, quietConfig)
	p := w.connect(packet.V5, "c")
	p.subscribe("a/#", 0)
	p.subscribe("a/+", 2)
	p.subscribe("a/b", 1, func(s *packet.Subscription) { s.NoLocal = true })
	p.publish("a/b", "own", 0, false)
	p.want("own")
	p.quiet()
	q := w.connect(packet.V5, "d")
	q.subscribe("x", 0, func(s *packet.Subscription) { s.NoLocal = true })
	q.publish("x", "own", 0, false)
	q.quiet()
	p.publish("x", "other", 0, false)
	q.want("other")
}

func TestRetained(t *testing.T) {
	w := newWorld(t, quietConfig)
	pub := w.connect(packet.V5, "pub")
	pub.publish("r/1", "kept", 0, true)
	p := w.connect(packet.V5, "c")
	p.subscribe("r/#", 0)
	if m := p.want("kept"); !m.Retain {
		t.Error("v5/MQTT-3.3.1-8: RETAIN is not set")
	}
	pub.publish("r/1", "live", 0, true)
	if m := p.want("live"); m.Retain {
		t.Error("v5/MQTT-3.3.1-12: RETAIN is set")
	}
	pub.publish("r/1", "", 0, true)
	p.want("")
	q := w.connect(packet.V5, "d")
	q.subscribe("r/#", 0)
	q.quiet()
	if c := w.b.Counters(); c.Retained != 0 || c.RetainedBytes != 0 {
		t.Errorf("%d messages, %d bytes are left", c.Retained, c.RetainedBytes)
	}
}

// TestManyRetained proves that a large answer is spread over turns and loses
// nothing, though the client's window and queue are small.
func TestManyRetained(t *testing.T) {
	cfg := quietConfig
	cfg.Session.QueuedMessages = 10
	w := newWorld(t, cfg)
	pub := w.connect(packet.V5, "pub")
	const n = 3 * atOnce
	for i := range n {
		pub.publish(fmt.Sprint("r/", i), "v", 1, true)
		pub.next(packet.PUBACK)
	}
	p := w.connect(packet.V5, "c", func(c *packet.Connect) {
		c.Properties.ReceiveMaximum = 5
		c.Properties.Set(packet.PropReceiveMaximum)
	})
	p.subscribe("r/#", 1)
	got := map[string]bool{}
	for range 2 * n {
		m, ok := p.message()
		if !ok {
			break
		}
		got[string(m.Topic)] = true
	}
	if len(got) != n {
		t.Errorf("%d of %d retained messages came", len(got), n)
	}
}

func TestTakeover(t *testing.T) {
	w := newWorld(t, quietConfig)
	watch := w.connect(packet.V5, "watch")
	watch.subscribe("will", 0)
	old := w.connect(packet.V5, "c", withWill(0))
	w.connect(packet.V5, "c")
	if body := old.next(packet.DISCONNECT); len(body) == 0 || body[0] != byte(packet.SessionTakenOver) {
		t.Errorf("v5/MQTT-3.1.4-3: DISCONNECT %x", body)
	}
	if !old.closed {
		t.Error("the old connection is open")
	}
	watch.want("gone")
	watch.quiet()
}

func TestWillDelay(t *testing.T) {
	w := newWorld(t, quietConfig)
	watch := w.connect(packet.V5, "watch")
	watch.subscribe("will", 0)
	w.connect(packet.V5, "c", expires(100), withWill(10)).hang()
	w.pass(9 * time.Second)
	watch.quiet()
	c := w.connect(packet.V5, "c", expires(100), withWill(10))
	w.pass(20 * time.Second)
	watch.quiet() // v5/MQTT-3.1.3-9
	c.hang()
	w.pass(11 * time.Second)
	watch.want("gone")
	w.connect(packet.V5, "d", expires(3), withWill(10)).hang()
	w.pass(4 * time.Second)
	watch.want("gone") // v5/3.1.3.2.2: the session ends first
	watch.quiet()
}

func TestSession(t *testing.T) {
	w := newWorld(t, quietConfig)
	c := w.connect(packet.V5, "c", expires(60))
	c.subscribe("a", 1)
	c.hang()
	pub := w.connect(packet.V311, "pub")
	pub.publish("a", "waited", 1, false)
	c = w.connect(packet.V5, "c", expires(60))
	c.want("waited")
	c.hang()
	w.pass(61 * time.Second)
	if n := w.b.Counters(); n.Expired != 1 || n.Subscriptions != 0 {
		t.Errorf("after the end: %+v", n)
	}
}

func TestKeepAlive(t *testing.T) {
	w := newWorld(t, quietConfig)
	c := w.connect(packet.V5, "c", func(c *packet.Connect) { c.KeepAlive = 10 })
	w.pass(14 * time.Second)
	c.bytes(packet.Pingreq{}.Append(nil, packet.V5))
	c.next(packet.PINGRESP)
	w.pass(14 * time.Second)
	c.quiet()
	w.pass(2 * time.Second)
	if body := c.next(packet.DISCONNECT); len(body) == 0 || body[0] != byte(packet.KeepAliveTimeout) {
		t.Errorf("v5/MQTT-3.1.2-22: DISCONNECT %x", body)
	}
}

func TestShared(t *testing.T) {
	for _, strategy := range []string{settings.RoundRobin, settings.Sticky, settings.LeastInflight} {
		cfg := quietConfig
		cfg.Session.SharedStrategy = strategy
		w := newWorld(t, cfg)
		var members []*peer
		for i := range 5 {
			members = append(members, w.connect(packet.V5, fmt.Sprint("m", i), expires(60)))
			members[i].subscribe("$share/g/a", 1)
		}
		pub := w.connect(packet.V5, "pub")
		const n = 50
		for i := range n {
			pub.publish("a", fmt.Sprint(i), 1, false)
			pub.next(packet.PUBACK)
			if i == 0 && len(members[0].out) == 0 {
				t.Errorf("strategy %s: the first message does not go to the first member", strategy)
			}
		}
		seen := map[string]int{}
		for i, p := range members {
			got := 0
			for m, ok := p.message(); ok; m, ok = p.message() {
				seen[string(m.Payload)]++
				got++
			}
			if strategy == settings.RoundRobin && got != n/len(members) {
				t.Errorf("member %d got %d messages", i, got)
			}
		}
		for i := range n {
			if seen[fmt.Sprint(i)] != 1 {
				t.Errorf("strategy %s: message %d was delivered %d times", strategy, i, seen[fmt.Sprint(i)])
			}
		}
		for _, p := range members[1:] {
			p.hang()
		}
		pub.publish("a", "online", 1, false)
		members[0].want("online")
	}
}

func TestLimits(t *testing.T) {
	cfg := quietConfig
	l := &cfg.Limits
	l.Connections, l.Subscriptions, l.TopicLevels, l.RetainedMessages, l.PacketSize = 4, 1, 4, 1, 1000
	w := newWorld(t, cfg)
	c := w.connect(packet.V5, "c")
	if code := c.subscribe("a/b/c/d/e", 0); code != packet.TopicFilterInvalid {
		t.Errorf("levels: 0x%02x", code)
	}
	c.subscribe("a", 0)
	if code := c.subscribe("b", 0); code != packet.QuotaExceeded {
		t.Errorf("subscriptions: 0x%02x", code)
	}
	c.publish("r/1", "x", 1, true)
	c.next(packet.PUBACK)
	c.publish("r/2", "x", 1, true)
	if body := c.next(packet.PUBACK); len(body) < 3 || body[2] != byte(packet.QuotaExceeded) {
		t.Errorf("retained: PUBACK %x", body)
	}
	c.publish("big", strings.Repeat("x", 2000), 0, false)
	if body := c.next(packet.DISCONNECT); len(body) == 0 || body[0] != byte(packet.PacketTooLarge) {
		t.Errorf("size: DISCONNECT %x", body)
	}
	for range 4 {
		w.dial(packet.V5)
	}
	w.dial(packet.V5)
	w.pass(6 * time.Second)
	if n := w.b.Counters(); n.ConnectTimeouts != 4 || n.RefusedConnections != 1 || n.Connections != 0 {
		t.Errorf("%+v", n)
	}
}

// TestSlowReader proves that a client which stops reading costs a bounded
// amount, loses QoS 0 only, and is served when it reads again.
func TestSlowReader(t *testing.T) {
	cfg := quietConfig
	cfg.Limits.PendingBytes = 10_000
	w := newWorld(t, cfg)
	slow, good := w.connect(packet.V5, "slow", expires(60)), w.connect(packet.V5, "good")
	slow.subscribe("#", 1)
	good.subscribe("#", 0)
	pub := w.connect(packet.V5, "pub")
	slow.deaf = true
	const n = 200
	for range n {
		pub.publish("zero", strings.Repeat("z", 100), 0, false)
		pub.publish("one", strings.Repeat("o", 100), 1, false)
		pub.next(packet.PUBACK)
		good.want(strings.Repeat("z", 100))
		good.want(strings.Repeat("o", 100))
	}
	if len(slow.pending) > 2*int(cfg.Limits.PendingBytes) {
		t.Errorf("%d bytes are pending", len(slow.pending))
	}
	slow.deaf = false
	w.turn()
	ones := 0
	for m, ok := slow.message(); ok; m, ok = slow.message() {
		if string(m.Topic) == "one" {
			ones++
		}
	}
	if ones != n {
		t.Errorf("%d of %d QoS 1 messages came", ones, n)
	}
	if w.b.Counters().DroppedSlow == 0 {
		t.Error("no QoS 0 message was dropped")
	}
	slow.deaf = true
	for range n {
		pub.publish("one", strings.Repeat("o", 100), 1, false)
		pub.next(packet.PUBACK)
	}
	w.pass(slowPatience + time.Second)
	if !slow.closed || w.b.Counters().SlowDisconnects != 1 {
		t.Error("a client that does not read for long is still connected")
	}
}

// TestBadInput proves that peers which misbehave end, and that the others are
// served.
func TestBadInput(t *testing.T) {
	w := newWorld(t, quietConfig)
	good := w.connect(packet.V5, "good")
	good.subscribe("ok", 0)
	check := func(name string) {
		t.Helper()
		good.publish("ok", name, 0, false)
		good.want(name)
		good.quiet()
	}
	slow := w.dial(packet.V5)
	for _, c := range (&packet.Connect{Version: packet.V5, ClientID: []byte("slow"), CleanStart: true}).Append(nil)[:5] {
		slow.bytes([]byte{c})
		w.pass(time.Second)
		check("one byte a second")
	}
	w.pass(time.Second)
	if !slow.closed {
		t.Error("a CONNECT that takes for ever is still waited for")
	}
	endless := w.dial(packet.V5)
	endless.bytes([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	if !endless.closed {
		t.Error("a CONNECT of 256 MiB is waited for")
	}
	check("endless")
	levels := w.connect(packet.V5, "levels")
	if code := levels.subscribe(strings.Repeat("/", 65_534), 0); code != packet.TopicFilterInvalid {
		t.Errorf("65,535 levels: 0x%02x", code)
	}
	check("levels")
	twice := w.connect(packet.V5, "twice")
	twice.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("twice"), CleanStart: true}).Append(nil))
	if body := twice.next(packet.DISCONNECT); len(body) == 0 || body[0] != byte(packet.ProtocolError) {
		t.Errorf("v5/MQTT-3.1.0-2: DISCONNECT %x", body)
	}
	check("twice")
}

func TestShutdown(t *testing.T) {
	w := newWorld(t, quietConfig)
	watch := w.connect(packet.V5, "watch")
	watch.subscribe("will", 0)
	w.connect(packet.V5, "c", withWill(0))
	done := make(chan error, 1)
	go func() { done <- w.b.Shutdown(context.Background()) }()
	w.until(done)
	watch.want("gone")
	if body := watch.next(packet.DISCONNECT); len(body) == 0 || body[0] != byte(packet.ServerShuttingDown) {
		t.Errorf("DISCONNECT %x", body)
	}
}

func TestSys(t *testing.T) {
	w := newWorld(t, quietly(4, func(c *setup) { c.Sys.Interval = 10 * time.Second }))
	w.pass(time.Second)
	c := w.connect(packet.V5, "c")
	c.subscribe("$SYS/broker/version", 0)
	c.want("midge")
	c.subscribe("$SYS/broker/clients/connected", 0)
	c.want("0")
	w.pass(11 * time.Second)
	c.want("1")
	c.quiet()
	c.publish("$SYS/broker/version", "x", 1, true)
	if body := c.next(packet.PUBACK); len(body) < 3 || body[2] != byte(packet.NotAuthorized) {
		t.Errorf("PUBACK %x", body)
	}
}

// TestWheel compares the wheel with the times that it was asked for.
func TestWheel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var w wheel
	const n = 2000
	timers := make([]alarm, n)
	for i := range timers {
		a := &timers[i]
		a.at = time.Duration(r.Int64N(int64(time.Second) << r.IntN(24)))
		a.owner = a
		w.start(&a.timer, a.at)
	}
	for i := range 100 {
		w.stop(&timers[i].timer)
	}
	for range 10 * n {
		next, ok := w.nextTick()
		if !ok {
			break
		}
		now := time.Duration(next) * tick
		w.run(now, func(e expirer) {
			a := e.(*alarm)
			a.fired++
			if late := now - a.at; late < 0 || late > tick {
				t.Fatalf("timer for %v expired at %v", a.at, now)
			}
		})
	}
	for i := range timers {
		if want := min(i/100, 1); timers[i].fired != want {
			t.Fatalf("timer %d for %v expired %d times", i, timers[i].at, timers[i].fired)
		}
	}
}

type alarm struct {
	timer
	at    time.Duration
	fired int
}

func (*alarm) expire(*shard) {}

// FuzzConnection feeds any bytes to a connection, before and after CONNECT, in
// one piece or many. The broker has everything in memory, or a disk and an
// authenticator that answer late: at times that the seed chooses.
func FuzzConnection(f *testing.F) {
	v5 := (&packet.Connect{Version: packet.V5, ClientID: []byte("x"), CleanStart: true}).Append(nil)
	v311 := (&packet.Connect{Version: packet.V311, ClientID: []byte("x")}).Append(nil)
	pub := (&packet.Publish{Topic: []byte("a"), QoS: 2, ID: 1, Retain: true}).Append(nil, packet.V5)
	sub := (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("$share/g/#"), QoS: 2}}}).Append(nil, packet.V5)
	for seed := range uint64(4) {
		f.Add(seed, v5)
		f.Add(seed, bytes.Join([][]byte{v5, sub, pub, {0xe0, 0}}, nil))
		f.Add(seed, append(bytes.Clone(v311), 0x32, 6, 0, 1, 't', 0, 1, 'x'))
		f.Add(seed, []byte{0x10, 0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		r := rand.New(rand.NewPCG(seed, 1))
		w, let := newWorld(t, quietConfig), func() {}
		if seed%2 == 1 {
			l := newLateWorld(t, seed%4 == 1, 0)
			w, let = l.world, l.let
		}
		good := w.dial(packet.V311)
		good.bytes((&packet.Connect{Version: packet.V311, ClientID: []byte("good"), CleanStart: true}).Append(nil))
		let()
		good.next(packet.CONNACK)
		good.subscribe("$ok", 0)
		bad := w.dial(packet.V5)
		for len(b) > 0 {
			n := 1 + r.IntN(len(b))
			bad.bytes(b[:n])
			b = b[n:]
			if r.IntN(4) == 0 {
				let()
			}
		}
		let()
		w.pass(time.Second)
		let()
		if good.closed {
			return // another client took its id over, as it may
		}
		good.out = nil
		good.publish("$ok", "still", 0, false)
		good.want("still")
	})
}

func BenchmarkDeliver(b *testing.B) {
	w := newWorld(b, quietly(1))
	sub, pub := w.connect(packet.V311, "sub"), w.connect(packet.V311, "pub")
	sub.subscribe("a/b", 0)
	sub.discard = true
	m := (&packet.Publish{Topic: []byte("a/b"), Payload: make([]byte, 64)}).Append(nil, packet.V311)
	s := w.b.shards[0]
	b.ReportAllocs()
	for b.Loop() {
		s.Data(pub, m)
		s.Turn(0)
	}
	if sub.sent < b.N {
		b.Fatalf("%d of %d messages came", sub.sent, b.N)
	}
}
