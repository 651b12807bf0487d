package broker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

// flowSettings are the limits of what clients may send, of each kind: ten messages of
// 1,000 bytes a second.
var flowSettings = map[string]func(*settings.Core, *settings.ListenerLimits){
	"messages":       func(s *settings.Core, _ *settings.ListenerLimits) { s.Limits.MessageRate = 10 },
	"bytes":          func(s *settings.Core, _ *settings.ListenerLimits) { s.Limits.ByteRate = 10_000 },
	"total messages": func(_ *settings.Core, l *settings.ListenerLimits) { l.TotalMessageRate = 10 },
	"total bytes":    func(_ *settings.Core, l *settings.ListenerLimits) { l.TotalByteRate = 10_000 },
	"of listener": func(s *settings.Core, l *settings.ListenerLimits) {
		s.Limits.MessageRate, l.MessageRate = 1000, 10
	},
}

// limitFlow makes a broker whose listener 3 has limits.
func limitFlow(t *testing.T, shards int, set ...func(*settings.Core, *settings.ListenerLimits)) *changing {
	cfg := quietly(shards)
	l := settings.ListenerLimits{Limits: cfg.Limits}
	for _, f := range set {
		f(&cfg.Core, &l)
		if l.MessageRate == 0 && l.ByteRate == 0 {
			l.MessageRate, l.ByteRate = cfg.Limits.MessageRate, cfg.Limits.ByteRate
		}
	}
	cfg.Listeners = map[int]settings.ListenerLimits{3: l}
	return &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
}

// thousand is a PUBLISH of 1,000 bytes, with a number.
func thousand(v packet.Version, n int, qos packet.QoS) []byte {
	p := packet.Publish{Topic: []byte("t"), QoS: qos}
	if qos > 0 {
		p.ID = packet.ID(n + 1)
	}
	for size := 980; ; size++ {
		p.Payload = fmt.Appendf(nil, "%0*d", size, n)
		if b := p.Append(nil, v); len(b) == 1000 {
			return b
		}
	}
}

// join connects a client by a listener.
func (c *changing) join(listener int, v packet.Version, id string, change ...func(*packet.Connect)) *peer {
	c.Helper()
	p := c.dialBy(v, listener)
	connect := packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}
	for _, f := range change {
		f(&connect)
	}
	p.bytes(connect.Append(nil))
	if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
		c.Fatalf("%s: CONNACK %x", id, ack)
	}
	return p
}

// numbers takes the numbers of the messages that have come.
func (p *peer) numbers() (all []int) {
	for {
		m, ok := p.message()
		if !ok {
			return all
		}
		n, err := strconv.Atoi(string(m.Payload))
		if err != nil {
			p.w.t.Fatal(err)
		}
		all = append(all, n)
	}
}

// TestFlow proves for each limit, version and QoS that a client which sends too much is
// slowed down to the limit, and loses nothing: no message, no order, and not the
// connection, although its PINGREQ stands behind what is not read.
func TestFlow(t *testing.T) {
	for name, set := range flowSettings {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			for qos := range packet.QoS(3) {
				for _, step := range []int{1, 333, 1 << 20} {
					t.Run(fmt.Sprintf("%s/%v/QoS %d/%d bytes", name, v, qos, step), func(t *testing.T) {
						c := limitFlow(t, 2, set)
						sub := c.connect(v, "sub")
						sub.subscribe("t", 0)
						pub := c.join(3, v, "pub", func(p *packet.Connect) { p.KeepAlive = 1 })
						var sent []byte
						for i := range 60 {
							sent = append(sent, thousand(v, i, qos)...)
						}
						sent = append(sent, 0xC0, 0)
						for b := sent; len(b) > 0; {
							n := min(step, len(b))
							pub.offerOnly(b[:n])
							b = b[n:]
						}
						c.turn()
						got := sub.numbers()
						c.equal("at once", len(got), 10)
						for s := range 5 {
							c.pass(time.Second)
							got = append(got, sub.numbers()...)
							if want := 10 * (s + 2); len(got) < want-2 || len(got) > want {
								t.Fatalf("%d after %d s, want %d", len(got), s+1, want)
							}
						}
						c.pass(time.Second)
						got = append(got, sub.numbers()...)
						for i, n := range got {
							if i != n {
								t.Fatalf("got %v", got)
							}
						}
						if pub.closed || len(got) != 60 || len(pub.in) > 0 {
							t.Fatalf("closed %v, %d messages, %d bytes are not read", pub.closed, len(got), len(pub.in))
						}
						if rest := pub.out[max(0, len(pub.out)-2):]; string(rest) != "\xD0\x00" {
							t.Errorf("PINGREQ is answered with %x", rest)
						}
						n := c.b.Counters()
						if n.PausedRate == 0 || (n.PausedListenerRate > 0) != strings.HasPrefix(name, "total") || n.KeepAliveTimeouts+n.Dropped() > 0 {
							t.Errorf("%+v", n)
						}
						c.pass(1600 * time.Millisecond) // its silence counts again
						c.equal("silent, closed", pub.closed, true)
					})
				}
			}
		}
	}
}

// TestFlowLarge proves that a packet which is larger than a second's worth passes, that
// nothing but the next request waits for it, and that it waits as long as it should.
func TestFlowLarge(t *testing.T) {
	for _, name := range []string{"bytes", "total bytes"} {
		c := limitFlow(t, 1, flowSettings[name])
		sub := c.connect(packet.V5, "sub")
		sub.subscribe("t", 0)
		pub := c.join(3, packet.V5, "pub", func(p *packet.Connect) { p.KeepAlive = 10 })
		large := strings.Repeat("x", 1<<20-100)
		pub.publish("t", large, 0, false)
		sub.want(large)
		for range 5 { // it may be silent, ping and be pinged
			c.pass(10 * time.Second)
			c.lives(pub)
		}
		pub.publish("t", large, 0, false)
		if n := len(pub.in) - pub.kept; n < 1<<19 {
			t.Errorf("%s: all but %d bytes of the next packet are in memory while it waits", name, n)
		}
		sub.quiet()
		c.pass(53 * time.Second)
		sub.quiet()
		c.pass(2 * time.Second)
		sub.want(large)
		c.pass(20 * time.Second)
		c.equal(name+": silent, closed", pub.closed, true)
	}
}

// TestFlowRequests proves which packets count: SUBSCRIBE and UNSUBSCRIBE do, answers don't.
func TestFlowRequests(t *testing.T) {
	c := limitFlow(t, 1, flowSettings["messages"])
	p := c.join(3, packet.V5, "p")
	p.subscribe("own", 1) // one of ten
	other := c.connect(packet.V5, "other")
	for i := range 100 {
		other.w.b.shards[0].settings.metered = false // the other one is not limited here
		other.publish("own", fmt.Sprint(i), 1, false)
		other.out = nil
		p.want(fmt.Sprint(i)) // and PUBACK
		c.lives(p)
	}
	for range 4 {
		p.subscribe("x", 0)
		p.bytes((&packet.Unsubscribe{ID: 9, Filters: [][]byte{[]byte("x")}}).Append(nil, packet.V5))
		p.next(packet.UNSUBACK)
	}
	p.subscribe("x", 0)
	p.offerOnly((&packet.Unsubscribe{ID: 9, Filters: [][]byte{[]byte("x")}}).Append(nil, packet.V5))
	c.turn()
	p.quiet()
	c.equal("paused", c.b.Counters().PausedRate, uint64(1))
	c.pass(200 * time.Millisecond)
	if p.next(packet.UNSUBACK) == nil {
		t.Error("UNSUBSCRIBE has no answer")
	}
}

// TestFlowReconnect proves that who connects again gets nothing back, also with another
// session, and that others do not pay for it.
func TestFlowReconnect(t *testing.T) {
	for _, clean := range []bool{true, false} {
		c := limitFlow(t, 2, flowSettings["messages"])
		sub := c.connect(packet.V5, "sub")
		sub.subscribe("t", 0)
		for round := range 5 {
			pub := c.join(3, packet.V5, "pub", func(p *packet.Connect) { p.CleanStart = clean })
			for i := range 10 {
				pub.offerOnly(thousand(packet.V5, i, 0))
			}
			c.turn()
			want := 10
			if round > 0 {
				want = 0
			}
			c.equal(fmt.Sprintf("round %d", round), len(sub.numbers()), want)
			pub.hang()
			c.conns = c.conns[:1]
		}
		other := c.join(3, packet.V5, "other")
		for i := range 10 {
			other.offerOnly(thousand(packet.V5, i, 0))
		}
		c.turn()
		c.equal("another", len(sub.numbers()), 10)
		for _, s := range c.b.shards {
			if n := len(s.meters.byConn); n > 2 {
				t.Errorf("%d meters are left", n)
			}
		}
	}
}

// TestFlowFair proves that who sends as fast as it can does not keep from the others their
// part of what their listener may have.
func TestFlowFair(t *testing.T) {
	for shards := 1; shards <= 2; shards++ {
		c := limitFlow(t, shards, flowSettings["total messages"])
		sub := c.connect(packet.V5, "sub")
		sub.subscribe("t", 0)
		greedy := c.join(3, packet.V5, "greedy")
		var polite []*peer
		for i := range 4 {
			polite = append(polite, c.join(3, packet.V5, fmt.Sprint("polite", i)))
		}
		sent := 0
		for i := range 1000 {
			greedy.offerOnly(thousand(packet.V5, i, 0))
		}
		byPolite, all := 0, 0
		for second := range 40 {
			if second%2 == 0 {
				for i, p := range polite {
					p.offerOnly(thousand(packet.V5, 5000+i, 0))
					sent++
				}
			}
			c.pass(time.Second)
			for _, n := range sub.numbers() {
				if all++; n >= 5000 {
					byPolite++
				}
			}
		}
		if byPolite < sent-4 || all < 390 || all > 420 {
			t.Errorf("%d shards: of %d messages of polite clients %d came, %d in all", shards, sent, byPolite, all)
		}
	}
}

// TestFlowEnds proves that a client which waits can go, be taken over and be closed like any
// other, with its will, and that nothing is left of it.
func TestFlowEnds(t *testing.T) {
	for name, end := range map[string]func(c *changing, p *peer){
		"hang":      func(_ *changing, p *peer) { p.hang() },
		"take over": func(c *changing, _ *peer) { c.dialAndJoin("pub") },
		"no output": func(c *changing, p *peer) {
			p.deaf = true
			feed := c.connect(packet.V5, "feed")
			for range 40 { // out-queue full and input waiting at the same time
				feed.publish("in", strings.Repeat("x", 1<<20-100), 0, false)
			}
			c.equal("closed", p.closed, false)
			p.deaf = false
			c.turn()
			p.hang()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := limitFlow(t, 2, flowSettings["messages"])
			watcher := c.connect(packet.V5, "watcher")
			watcher.subscribe("will", 0)
			p := c.join(3, packet.V5, "pub", withWill(0))
			p.subscribe("in", 0)
			for i := range 100 {
				p.offerOnly(thousand(packet.V5, i, 0))
			}
			c.turn()
			c.equal("paused", p.paused, true)
			end(c, p)
			c.pass(2 * drainTime)
			if _, ok := watcher.message(); !ok {
				t.Error("no will")
			}
			c.equal("closed", p.closed, true)
			for _, s := range c.b.shards {
				if s.meters.byConn[connOf(p)] != nil {
					t.Error("its meter is left")
				}
			}
		})
	}
}

// dialAndJoin sends a CONNECT and waits for nothing.
func (c *changing) dialAndJoin(id string) *peer {
	p := c.dialBy(packet.V5, 0)
	p.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}).Append(nil))
	return p
}

// TestFlowShared proves that a shared subscription gets all that a limited client publishes.
func TestFlowShared(t *testing.T) {
	c := limitFlow(t, 4, flowSettings["messages"])
	var members []*peer
	for i := range 3 {
		members = append(members, c.connect(packet.V5, fmt.Sprint("m", i)))
		members[i].subscribe("$share/g/t", 1)
	}
	pub := c.join(3, packet.V5, "pub")
	for i := range 50 {
		pub.offerOnly(thousand(packet.V5, i, 1))
	}
	got := map[int]bool{}
	for range 10 {
		c.pass(time.Second)
		for _, m := range members {
			for _, n := range m.numbers() {
				if got[n] {
					t.Errorf("%d came twice", n)
				}
				got[n] = true
			}
		}
	}
	c.equal("messages", len(got), 50)
}

// TestFlowChanges proves that who waits goes by new limits at once, also by none.
func TestFlowChanges(t *testing.T) {
	for name, set := range flowSettings {
		for _, after := range []int{0, 100} {
			c := limitFlow(t, 2, set)
			sub := c.connect(packet.V5, "sub")
			sub.subscribe("t", 0)
			pub := c.join(3, packet.V5, "pub")
			for i := range 1000 {
				pub.offerOnly(thousand(packet.V5, i, 0))
			}
			c.turn()
			c.equal("at once", len(sub.numbers()), 10)
			c.set(func(s *settings.Core) {
				l := s.Listeners[3]
				s.Limits.MessageRate, s.Limits.ByteRate, l.TotalMessageRate, l.TotalByteRate = 0, 0, 0, 0
				l.MessageRate, l.ByteRate = after, 0
				s.Listeners = map[int]settings.ListenerLimits{3: l}
			})
			c.pass(100 * time.Millisecond)
			n := len(sub.numbers())
			if after == 0 && n != 990 || after > 0 && (n < 5 || n > 110) {
				t.Errorf("%s: %d messages after a change to %d a second", name, n, after)
			}
		}
	}
}

// TestFlowOverTCP proves on each engine that all arrives in order, and that the
// connection lives.
func TestFlowOverTCP(t *testing.T) {
	cfg := quietly(2)
	cfg.Limits.MessageRate = 500
	overTCP(t, cfg, func(t *testing.T, b *Broker, address string) {
		const count = 800
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Minute))
		r := bufio.NewReader(c)
		send := (&packet.Connect{Version: packet.V311, ClientID: []byte("c"), CleanStart: true, KeepAlive: 60}).Append(nil)
		send = (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("t")}}}).Append(send, packet.V311)
		for i := range count {
			p := packet.Publish{Topic: []byte("t"), Payload: binary.BigEndian.AppendUint32(nil, uint32(i))}
			send = p.Append(send, packet.V311)
		}
		send = append(send, 0xC0, 0)
		go c.Write(send)
		read := func(want packet.Type) []byte {
			head := make([]byte, 2)
			if _, err := io.ReadFull(r, head); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, head[1])
			if _, err := io.ReadFull(r, body); err != nil || packet.TypeOf(head[0]) != want {
				t.Fatalf("%x %x, %v; want %v", head, body, err, want)
			}
			return body
		}
		read(packet.CONNACK)
		read(packet.SUBACK)
		for i := range count {
			if body := read(packet.PUBLISH); int(binary.BigEndian.Uint32(body[3:])) != i {
				t.Fatalf("message %d is %x", i, body)
			}
		}
		read(packet.PINGRESP)
		c.Write([]byte{0xC0, 0})
		read(packet.PINGRESP)
		if n := b.Counters(); n.PausedRate == 0 {
			t.Errorf("it was never paused: %+v", n)
		}
	})
}
