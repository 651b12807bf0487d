package broker

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestAddressComesLate counts connections by their address that is known only with CONNECT, as
// behind a proxy in front of a WebSocket: no more and no less than others.
func TestAddressComesLate(t *testing.T) {
	for _, shards := range []int{1, 3} {
		for what, change := range map[string]func(*setup){
			"in all":    func(c *setup) { c.Limits.ConnectionsPerIP = 2 },
			"in a time": func(c *setup) { c.Limits.ConnectRatePerIP, c.Limits.ConnectBurst = 2, time.Second },
			"both": func(c *setup) {
				c.Limits.ConnectionsPerIP, c.Limits.ConnectRatePerIP, c.Limits.ConnectBurst = 2, 3, time.Second
			},
			"no limit":     func(*setup) {},
			"another kind": func(c *setup) { c.Limits.Connections = 100 },
		} {
			t.Run(fmt.Sprintf("%s/%d shards", what, shards), func(t *testing.T) {
				w := newWorld(t, quietly(shards, change))
				limited := what == "in all" || what == "in a time" || what == "both"
				n := 0
				connect := func(address string) (p *peer, code packet.ReasonCode) {
					n++
					p = &peer{w: w, version: packet.V5, moveTo: -1, hidden: true}
					w.conns = append(w.conns, p)
					w.b.shards[0].Open(p)
					p.hidden, p.remote = false, netip.AddrPortFrom(netip.MustParseAddr(address), 0)
					p.bytes((&packet.Connect{Version: packet.V5, ClientID: fmt.Append(nil, "c", n), CleanStart: true}).Append(nil))
					var ack packet.Connack
					if err := ack.Decode(packet.V5, 0x20, p.next(packet.CONNACK)); err != nil {
						t.Fatal(err)
					}
					return p, ack.Code
				}
				var in []*peer
				for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
					for range 2 {
						p, code := connect(address)
						if code.Failed() {
							t.Fatalf("%s: %v", address, code)
						}
						in = append(in, p)
					}
					if p, code := connect(address); code.Failed() != limited {
						t.Errorf("%s, a third one: %v", address, code)
					} else if !limited {
						in = append(in, p)
					} else if !p.closed {
						t.Error("one that is refused is not closed")
					}
				}
				if got := w.b.gate.n.Load(); got != int64(len(in)) || w.b.gate.refusing.Load() != 0 {
					t.Errorf("%d count, want %d; %d are being refused", got, len(in), w.b.gate.refusing.Load())
				}
				c := w.b.Counters()
				if refused := c.RefusedPerIP + c.RefusedPerIPRate; (refused == 2) != limited || what == "in all" && c.RefusedPerIP != 2 || what == "in a time" && c.RefusedPerIPRate != 2 {
					t.Errorf("counted %d and %d", c.RefusedPerIP, c.RefusedPerIPRate)
				}
				for _, p := range in {
					p.hang()
				}
				w.pass(5 * time.Second)
				if g := &w.b.gate; g.n.Load() != 0 || len(g.perIP) != 0 || len(g.from) != 0 || g.known.Load() != 0 {
					t.Errorf("%d count in the end, %d addresses", g.n.Load(), len(g.perIP))
				}
				if _, code := connect("192.0.2.1"); code.Failed() {
					t.Errorf("once the others have gone: %v", code)
				}
			})
		}
	}
}

// TestReserve counts connections that no shard has yet against the limit of all.
func TestReserve(t *testing.T) {
	w := newWorld(t, quietly(1, func(c *setup) { c.Limits.Connections = 2 }))
	for i, want := range []bool{true, true, false} {
		if w.b.Reserve() != want {
			t.Errorf("connection %d is let in: %v, want %v", i+1, !want, want)
		}
	}
	w.b.Unreserve()
	w.connect(packet.V5, "c")
	p := w.dial(packet.V5)
	p.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("d"), CleanStart: true}).Append(nil))
	if ack := p.next(packet.CONNACK); ack == nil || ack[1] != byte(packet.QuotaExceeded) {
		t.Errorf("CONNACK % x", ack)
	}
	if w.b.Reserve() {
		t.Error("a third one is let in")
	}
}
