package broker

import (
	"context"
	"fmt"
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
