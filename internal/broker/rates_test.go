package broker

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

// at is an address of a peer.
func at(address string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(address), 4711)
}

// comes opens a connection, and reports whether it was let in. One that is not gets no
// byte: TLS has not begun by then.
func (c *changing) comes(listener int, from string) bool {
	c.Helper()
	p := c.dialFrom(packet.V5, listener, at(from))
	open := !p.closed
	c.turn()
	if !open && len(p.out)+len(p.pending) > 0 {
		c.Errorf("refused with %x", p.out)
	}
	if open {
		p.hang()
	}
	c.conns = slices.DeleteFunc(c.conns, func(x *peer) bool { return x == p })
	return open
}

// come counts how many of n are let in.
func (c *changing) come(n, listener int, from string) (open int) {
	c.Helper()
	for range n {
		if c.comes(listener, from) {
			open++
		}
	}
	return open
}

// TestConnectRate proves of each limit whom it keeps out, and that it lets others in.
func TestConnectRate(t *testing.T) {
	const own = 3 // listener
	set := func(change func(*settings.Core, *settings.ListenerLimits)) *changing {
		cfg := quietly(2)
		cfg.Limits.ConnectBurst = 2 * time.Second
		l := settings.ListenerLimits{Limits: cfg.Limits}
		change(&cfg.Core, &l)
		cfg.Listeners = map[int]settings.ListenerLimits{own: l}
		return &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
	}
	five, none := 5, 0
	t.Run("in all", func(t *testing.T) {
		c := set(func(s *settings.Core, _ *settings.ListenerLimits) { s.Limits.ConnectRate = 5 })
		c.equal("at once", c.come(8, 0, "192.0.2.1")+c.come(8, own, "192.0.2.2"), 10)
		c.pass(time.Second)
		c.equal("a second later", c.come(20, 0, "192.0.2.3"), 5)
		c.pass(time.Hour)
		c.equal("an hour later", c.come(20, own, "192.0.2.1"), 10)
		n := c.b.Counters()
		c.equal("refused", n.RefusedRate, uint64(6+15+10))
		c.equal("otherwise", n.RefusedListenerRate+n.RefusedPerIPRate+n.RefusedUnanswered+n.Connections, uint64(0))
	})
	t.Run("listener", func(t *testing.T) {
		c := set(func(_ *settings.Core, l *settings.ListenerLimits) { l.OwnConnectRate = &five })
		c.equal("its own", c.come(20, own, "192.0.2.1"), 10)
		c.equal("another", c.come(20, 0, "192.0.2.1"), 20)
		c.equal("refused", c.b.Counters().RefusedListenerRate, uint64(10))
	})
	t.Run("address", func(t *testing.T) {
		c := set(func(s *settings.Core, l *settings.ListenerLimits) {
			s.Limits.ConnectRatePerIP, s.Limits.ConnectRate = 5, 25
		})
		c.equal("one", c.come(10_000, 0, "192.0.2.1")+c.come(5, own, "192.0.2.1"), 10)
		for i := range 10 { // those that were refused took nothing from the others
			c.equal("another", c.come(3, i%2*own, fmt.Sprintf("192.0.2.%d", i+2)), 3)
		}
		c.equal("a network of IPv6", c.come(6, 0, "2001:db8::1")+c.come(6, 0, "2001:db8::2"), 10)
		c.pass(2 * time.Second)
		c.equal("without an address", c.come(20, 0, "::"), 10)
		n := c.b.Counters()
		c.equal("refused", n.RefusedPerIPRate, uint64(10_000-10+5+2+10))
		c.equal("otherwise", n.RefusedListenerRate+n.RefusedRate, uint64(0))
	})
	t.Run("address, of the listener", func(t *testing.T) {
		c := set(func(s *settings.Core, l *settings.ListenerLimits) {
			s.Limits.ConnectRatePerIP, l.OwnConnectRatePerIP = 2, &five
		})
		c.equal("its own", c.come(20, own, "192.0.2.1"), 10)
		c.equal("another", c.come(20, 0, "192.0.2.1"), 4)
	})
	t.Run("none for the listener", func(t *testing.T) {
		c := set(func(s *settings.Core, l *settings.ListenerLimits) {
			s.Limits.ConnectRatePerIP, l.OwnConnectRatePerIP = 2, &none
		})
		c.equal("its own", c.come(20, own, "192.0.2.1"), 20)
	})
}

// TestConnectRateSpares proves that clients that are connected, and those that come from
// elsewhere, don't notice a storm from one address, and that it leaves nothing behind.
func TestConnectRateSpares(t *testing.T) {
	cfg := quietly(4)
	cfg.Limits.ConnectRatePerIP, cfg.Limits.ConnectBurst = 10, time.Second
	c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		old := c.connect(v, "old"+v.String())
		old.subscribe("t", 1)
		for i := range 1000 {
			c.comes(0, "198.51.100.7")
			if i%100 == 0 {
				c.connect(v, fmt.Sprint("new", i), func(*packet.Connect) {}).publish("t", fmt.Sprint(i), 1, false)
				old.want(fmt.Sprint(i))
				c.pass(100 * time.Millisecond)
			}
		}
	}
	n := c.b.Counters()
	c.equal("accepted", n.Accepted, uint64(3+3*1000+3*10))
	if n.RefusedPerIPRate < 2900 || n.Connections != 3+3*10-2*10 {
		t.Errorf("%+v", n)
	}
	open := 0
	for _, s := range c.b.shards {
		open += len(s.handshakes.open)
	}
	c.equal("handshakes left", open, 0)
	c.equal("refusals left", c.b.gate.refusing.Load(), int64(0))
}

// reconnect connects with one client identifier, n times, and returns how often it has an
// answer at once.
func (c *changing) reconnect(n int) (answered int) {
	for range n {
		p := c.dialAndJoin("again")
		if body := p.next(packet.CONNACK); len(body) > 1 && body[1] == 0 {
			answered++
		}
		p.hang()
	}
	return answered
}

// TestReconnects proves that a client which connects too often waits, and is refused if it
// would wait for long, that others do not wait for it, and that it comes in again.
func TestReconnects(t *testing.T) {
	for v, code := range map[packet.Version]byte{packet.V31: 3, packet.V311: 3, packet.V5: byte(packet.ConnectionRateExceeded)} {
		cfg := quietly(4)
		cfg.Limits.Reconnects, cfg.Limits.ReconnectInterval = 3, time.Second
		c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
		send := func(id, from string) *peer {
			p := c.dialFrom(v, 0, at(from))
			p.bytes((&packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}).Append(nil))
			return p
		}
		answer := func(p *peer) int {
			if body := p.next(packet.CONNACK); len(body) > 1 {
				return int(body[1])
			}
			return -1
		}
		for range 3 {
			p := send("loop", "192.0.2.1")
			c.equal("at once", answer(p), 0)
			p.hang()
		}
		var held []*peer
		for range 3 {
			held = append(held, send("loop", "192.0.2.1"))
			c.equal("waits", answer(held[len(held)-1]), -1)
		}
		for range 5 {
			p := send("loop", "192.0.2.1")
			c.equal("refused", answer(p), int(code))
			c.equal("closed", p.closed, true)
		}
		c.equal("another client", answer(send("other", "192.0.2.1")), 0)
		c.equal("another address", answer(send("loop", "192.0.2.2")), 0) // nobody keeps it away by its name
		held[1].hang()
		c.pass(1100 * time.Millisecond)
		c.equal("after a second", answer(held[0]), 0)
		c.pass(2 * time.Second)
		c.equal("after three", answer(held[2]), 0)
		n := c.b.Counters()
		c.equal("held off", n.HeldOff, uint64(3))
		c.equal("refused", n.RefusedReconnects, uint64(5))
		c.pass(time.Hour)
		c.equal("an hour later", answer(send("loop", "192.0.2.1")), 0)
		for range 20 { // the broker's identifiers are new ones each time
			p := send("", "192.0.2.1")
			if v != packet.V31 {
				c.equal("without an identifier", answer(p), 0)
			}
		}
	}
}

// TestReconnectsLate proves that a client which waits is one whose Authenticator has not
// been asked, and that it comes in although its decision comes late.
func TestReconnectsLate(t *testing.T) {
	late := &lateAuthenticator{}
	cfg := quietly(2)
	cfg.Authenticator = late
	cfg.Limits.Reconnects, cfg.Limits.ReconnectInterval = 1, time.Second
	c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
	first := c.dialAndJoin("c")
	first.hang()
	asked := len(late.asked)
	second := c.dialAndJoin("c")
	c.equal("asked while it waits", len(late.asked), asked)
	c.pass(1100 * time.Millisecond)
	c.equal("asked", len(late.asked), asked+1)
	late.asked[asked](Verdict{})
	c.turn()
	if body := second.next(packet.CONNACK); len(body) < 2 || body[1] != 0 {
		t.Errorf("CONNACK %x", body)
	}
}
