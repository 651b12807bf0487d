package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

// TestOverLimit proves that a connection over a limit is told so once it has
// sent CONNECT, that it costs the others nothing, and that only some are kept
// for that.
func TestOverLimit(t *testing.T) {
	for name, limit := range map[string]func(*setup){
		"connections":        func(c *setup) { c.Limits.Connections = 2 },
		"connections per IP": func(c *setup) { c.Limits.ConnectionsPerIP = 2 },
	} {
		for v, want := range map[packet.Version]byte{packet.V31: 3, packet.V311: 3, packet.V5: byte(packet.QuotaExceeded)} {
			t.Run(fmt.Sprintf("%v/%s", v, name), func(t *testing.T) {
				w := newWorld(t, quietly(4, limit))
				w.connect(v, "a")
				b := w.connect(v, "b")
				refuse := func(id string) {
					t.Helper()
					p := w.dial(v)
					if p.closed {
						t.Fatal("closed before CONNECT")
					}
					connect := (&packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}).Append(nil)
					for _, c := range append(connect, 0xc0, 0) { // a byte at a time, and something behind it
						p.bytes([]byte{c})
					}
					if body := p.next(packet.CONNACK); len(body) < 2 || body[1] != want || !p.closed {
						t.Fatalf("CONNACK %x, closed: %v; want 0x%02x", body, p.closed, want)
					}
					p.quiet()
				}
				for i := range 3 * settings.MaxRefusing { // each gives its place back
					refuse(fmt.Sprint("over", i))
				}
				refuse("a") // and takes nothing over
				if n := w.b.Counters(); n.RefusedConnections+n.RefusedPerIP != 3*settings.MaxRefusing+1 || n.RefusedUnanswered != 0 || n.TakenOver != 0 {
					t.Errorf("%+v", n)
				}
				var silent []*peer
				for range settings.MaxRefusing {
					silent = append(silent, w.dial(v))
				}
				w.turn()
				for range 3 {
					if p := w.dial(v); !p.closed {
						t.Error("one more than is kept is open")
					}
				}
				w.pass(refusalTime + 2*tick)
				for _, p := range silent {
					if !p.closed || len(p.out) > 0 {
						t.Fatalf("closed: %v, sent %x", p.closed, p.out)
					}
				}
				if n := w.b.Counters(); n.RefusedUnanswered != settings.MaxRefusing+3 || n.ConnectTimeouts != 0 || n.Connections != 2 || n.Connected != 2 {
					t.Errorf("%+v", n)
				}
				refuse("again")
				garbage := w.dial(v)
				garbage.bytes([]byte("GET / HTTP/1.1\r\n\r\n"))
				if !garbage.closed {
					t.Error("garbage is kept")
				}
				b.hang()
				w.connect(v, "c")
				if n := w.b.gate.refusing.Load(); n != 0 {
					t.Errorf("%d are being refused, want none", n)
				}
			})
		}
	}
}

// TestRefusedLate proves that a CONNECT gets an answer that nobody decides
// about in time, or that comes while the broker stops.
func TestRefusedLate(t *testing.T) {
	for v, want := range map[packet.Version]byte{packet.V31: 3, packet.V311: 3, packet.V5: byte(packet.ServerUnavailable)} {
		cfg := quietConfig
		cfg.Authenticator = &lateAuthenticator{}
		w := newWorld(t, cfg)
		send := func() *peer {
			p := w.dial(v)
			p.bytes((&packet.Connect{Version: v, ClientID: []byte("id"), CleanStart: true}).Append(nil))
			return p
		}
		refused := func(what string, p *peer) {
			t.Helper()
			if body := p.next(packet.CONNACK); len(body) < 2 || body[1] != want || !p.closed {
				t.Errorf("%v, %s: CONNACK %x, closed: %v; want 0x%02x", v, what, body, p.closed, want)
			}
		}
		p := send()
		w.pass(6 * time.Second)
		refused("no decision", p)
		waiting, silent := send(), w.dial(v)
		done := make(chan error, 1)
		go func() { done <- w.b.Shutdown(context.Background()) }()
		w.until(done)
		refused("stopping", waiting)
		if !silent.closed || len(silent.out) > 0 {
			t.Errorf("%v: without CONNECT: closed %v, sent %x", v, silent.closed, silent.out)
		}
		refused("stopped", send())
		silent = w.dial(v)
		w.pass(refusalTime + 2*tick)
		if !silent.closed {
			t.Errorf("%v: a connection without CONNECT stays open", v)
		}
		if n := w.b.Counters().Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	}
}

// TestRetainedOff: a 5.0 client that sends RETAIN all the same was told not to
// (MQTT-3.2.2-14); others can't know, and who listens gets their messages.
func TestRetainedOff(t *testing.T) {
	cfg := quietConfig
	cfg.Limits.RetainedMessages = 0
	cfg.Sys.Interval, cfg.Version = time.Second, "the version"
	w := newWorld(t, cfg)
	w.pass(1100 * time.Millisecond)
	sub := w.connect(packet.V311, "sub")
	sub.subscribe("$SYS/broker/version", 0) // the broker's own are there
	sub.want("the version")
	sub.subscribe("a", 0)
	old := w.connect(packet.V311, "old")
	old.publish("a", "x", 0, true)
	sub.want("x")
	if all := w.matches("#"); old.closed || len(all) > 0 {
		t.Errorf("3.1.1: closed %v, %d messages retained", old.closed, len(all))
	}
	p := w.connect(packet.V5, "p")
	p.publish("a", "y", 0, false)
	sub.want("y")
	p.publish("a", "z", 0, true)
	if body := p.next(packet.DISCONNECT); len(body) == 0 || body[0] != byte(packet.RetainNotSupported) {
		t.Errorf("DISCONNECT %x", body)
	}
	sub.quiet()
}

// TestListenerLimits proves that what a listener has of its own holds for its connections,
// for no others, and from the next connection on when it changes.
func TestListenerLimits(t *testing.T) {
	const own = 3 // listener
	two, one, none := 2, 1, 0
	limitsOf := func(change func(*settings.ListenerLimits)) func(*settings.Core) {
		return func(c *settings.Core) {
			l := settings.ListenerLimits{Limits: c.Limits}
			change(&l)
			c.Listeners = map[int]settings.ListenerLimits{own: l}
		}
	}
	for name, tt := range map[string]struct {
		general func(*settings.Core)
		own     func(*settings.ListenerLimits)
		test    func(c *changing)
	}{
		"packet size": {own: func(l *settings.ListenerLimits) { l.PacketSize = 1000 }, test: func(c *changing) {
			for listener, size := range map[int]uint32{0: 1 << 20, own: 1000} {
				p, ack := c.askBy(listener, packet.V5, fmt.Sprint(listener))
				c.equal("Maximum Packet Size", ack.Properties.MaximumPacketSize, size)
				p.publish("t", strings.Repeat("x", 2000), 0, false)
				if c.lost(p) != (listener == own) {
					c.Errorf("listener %d: closed %v after 2,000 bytes", listener, p.closed)
				}
				old, _ := c.askBy(listener, packet.V311, fmt.Sprint("old", listener))
				old.publish("t", strings.Repeat("x", 2000), 1, false)
				c.equal("3.1.1 closed", old.closed, listener == own)
			}
		}},
		"CONNECT size": {own: func(l *settings.ListenerLimits) { l.ConnectSize = 60 }, test: func(c *changing) {
			for _, listener := range []int{0, own} {
				p := c.dialBy(packet.V311, listener)
				p.bytes((&packet.Connect{Version: packet.V311, ClientID: []byte(strings.Repeat("i", 100)), CleanStart: true}).Append(nil))
				c.equal("closed", p.closed, listener == own)
			}
		}},
		"CONNECT time": {own: func(l *settings.ListenerLimits) { l.ConnectTimeout = time.Second }, test: func(c *changing) {
			general, quick := c.dialBy(packet.V5, 0), c.dialBy(packet.V5, own)
			c.pass(2 * time.Second)
			c.equal("general, closed", general.closed, false)
			c.equal("own, closed", quick.closed, true)
		}},
		"connections": {own: func(l *settings.ListenerLimits) { l.Own = &two }, test: func(c *changing) {
			first, _ := c.askBy(own, packet.V5, "a")
			c.askBy(own, packet.V5, "b")
			_, ack := c.askBy(own, packet.V5, "c")
			c.equal("one more", ack.Code, packet.QuotaExceeded)
			_, ack = c.askBy(0, packet.V5, "d")
			c.equal("of the other", ack.Code, packet.Success)
			first.hang()
			_, ack = c.askBy(own, packet.V5, "e")
			c.equal("after one has gone", ack.Code, packet.Success)
			n := c.b.Counters()
			c.equal("counted", n.RefusedListener, uint64(1))
			c.equal("counted otherwise", n.RefusedConnections+n.RefusedPerIP, uint64(0))
		}},
		"connections count in all": {general: func(g *settings.Core) { g.Limits.Connections = 1 }, own: func(l *settings.ListenerLimits) { l.Own = &two }, test: func(c *changing) {
			c.askBy(own, packet.V5, "a")
			_, ack := c.askBy(own, packet.V5, "b")
			c.equal("one more", ack.Code, packet.QuotaExceeded)
			c.equal("counted", c.b.Counters().RefusedConnections, uint64(1))
		}},
		"connections of an address": {general: func(g *settings.Core) { g.Limits.ConnectionsPerIP = 2 }, own: func(l *settings.ListenerLimits) { l.OwnPerIP = &one }, test: func(c *changing) {
			first, _ := c.askBy(own, packet.V5, "a")
			_, ack := c.askBy(own, packet.V5, "b")
			c.equal("one more", ack.Code, packet.QuotaExceeded)
			for i := range 3 { // what the listener has counts by itself
				_, ack = c.askBy(0, packet.V5, fmt.Sprint("g", i))
				c.equal("general", ack.Code == packet.Success, i < 2)
			}
			first.hang()
			_, ack = c.askBy(own, packet.V5, "c")
			c.equal("after one has gone", ack.Code, packet.Success)
		}},
		"no limit of an address": {general: func(g *settings.Core) { g.Limits.ConnectionsPerIP = 1 }, own: func(l *settings.ListenerLimits) { l.OwnPerIP = &none }, test: func(c *changing) {
			for i := range 5 {
				_, ack := c.askBy(own, packet.V5, fmt.Sprint(i))
				c.equal("code", ack.Code, packet.Success)
			}
			_, ack := c.askBy(0, packet.V5, "g")
			c.equal("general", ack.Code, packet.Success)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				cfg := quietly(2)
				if tt.general != nil {
					tt.general(&cfg.Core)
				}
				set := limitsOf(tt.own)
				if !late {
					set(&cfg.Core)
				}
				c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
				if late { // they come at run time
					c.set(set)
				}
				tt.test(c)
				if late {
					continue
				}
				c.set(func(s *settings.Core) { s.Listeners, s.Limits.ConnectionsPerIP, s.Limits.Connections = nil, 0, 0 })
				if _, ack := c.askBy(own, packet.V5, "last"); ack.Code != packet.Success || ack.Properties.MaximumPacketSize != 1<<20 {
					t.Errorf("without limits of its own: code 0x%02x, Maximum Packet Size %d", uint8(ack.Code), ack.Properties.MaximumPacketSize)
				}
			}
		})
	}
}

// askBy is ask by a listener.
func (c *changing) askBy(listener int, v packet.Version, id string) (p *peer, ack packet.Connack) {
	c.Helper()
	p = c.dialBy(v, listener)
	p.bytes((&packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}).Append(nil))
	if err := ack.Decode(v, 0x20, p.next(packet.CONNACK)); err != nil {
		c.Fatal(err)
	}
	return p, ack
}

// lost reports whether the broker has ended a 5.0 connection for a packet that is too
// large.
func (c *changing) lost(p *peer) bool {
	c.Helper()
	if p.closed {
		c.closedWith(p, packet.PacketTooLarge)
	}
	return p.closed
}
