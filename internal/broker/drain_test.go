package broker

import (
	"testing"
	"time"

	"midge/internal/packet"
)

// TestDrain lets a client come back while what it sent last on its older
// connection has not been read: that comes first.
func TestDrain(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for _, tt := range []struct {
			name       string
			qos        packet.QoS
			disconnect bool
			cleanStart bool
		}{
			{"QoS 0", 0, true, true},
			{"QoS 0 without DISCONNECT", 0, false, true},
			{"QoS 1", 1, true, true},
			{"QoS 0, session goes on", 0, true, false},
			{"QoS 1, session goes on, without DISCONNECT", 1, false, false},
		} {
			t.Run(v.String()+"/"+tt.name, func(t *testing.T) {
				w := newWorld(t, quietly(2))
				watcher := w.connect(v, "watcher")
				watcher.subscribe("#", 1)
				change := func(c *packet.Connect) {
					c.CleanStart = tt.cleanStart
					c.HasWill, c.Will = true, packet.Will{Topic: []byte("will"), Payload: []byte("false")}
				}
				old := w.connect(v, "twin", change)
				m := packet.Publish{Topic: []byte("last"), Payload: []byte("word"), QoS: tt.qos}
				if tt.qos > 0 {
					m.ID = 9
				}
				old.in = m.Append(old.in, v) // it has arrived, and nobody has looked
				if tt.disconnect {
					old.in = (&packet.Disconnect{}).Append(old.in, v)
				}
				w.connect(v, "twin", change)
				watcher.want("word")
				if !tt.disconnect {
					watcher.want("false")
				}
				watcher.quiet()
				if !old.closed {
					t.Error("the older connection is open")
				}
			})
		}
	}
}

// TestDrainEnds takes over from a connection that can't be drained because it
// is paused, and from one for which two others wait.
func TestDrainEnds(t *testing.T) {
	w := newWorld(t, quietly(1))
	old := w.connect(packet.V5, "twin")
	s := w.b.shards[0]
	s.pause(connOf(old), forRoom)
	first, second := w.dial(packet.V5), w.dial(packet.V5)
	hello := (&packet.Connect{Version: packet.V5, ClientID: []byte("twin"), CleanStart: true}).Append(nil)
	first.bytes(hello)
	second.bytes(hello)
	first.quiet()
	second.quiet()
	if old.closed {
		t.Fatal("the older connection was closed before the time is over")
	}
	w.pass(drainTime + time.Second)
	first.next(packet.CONNACK)
	second.next(packet.CONNACK)
	for name, p := range map[string]*peer{"older": old, "first": first} {
		if !p.closed {
			t.Errorf("the %s connection is open", name)
		}
	}
	if second.closed {
		t.Error("the last connection is closed")
	}
	if n := len(s.drains.byConn) + len(s.handshakes.waiting); n > 0 {
		t.Errorf("%d drains and CONNECTs are left", n)
	}
}

// TestClosedCountsNoMore opens a connection while another one that was closed
// has not got Closed from the engine.
func TestClosedCountsNoMore(t *testing.T) {
	for _, limit := range []func(*setup){
		func(c *setup) { c.Limits.Connections = 1 },
		func(c *setup) { c.Limits.ConnectionsPerIP = 1 },
	} {
		w := newWorld(t, quietly(1, limit))
		a := w.connect(packet.V5, "a")
		a.in = (&packet.Disconnect{}).Append(nil, packet.V5)
		a.offer() // without a turn: the engine has not closed it
		w.connect(packet.V5, "b")
	}
}

// TestDrains lets several connections wait for one older one, and lets them go
// once.
func TestDrains(t *testing.T) {
	var timers wheel
	var all drains
	all.init(&timers)
	old, a, b := &conn{}, &conn{}, &conn{}
	d, begins := all.wait(old, a, 0)
	if again, twice := all.wait(old, b, 0); !begins || twice || again != d {
		t.Error("the second one begins anew")
	}
	if waited := all.end(d); len(waited) != 2 || waited[0] != a || waited[1] != b {
		t.Errorf("%d have waited", len(waited))
	}
	if all.end(d) != nil || d.timer.set {
		t.Error("it ends twice, or its time runs on")
	}
	if other, begins := all.wait(old, a, 0); !begins || other == d {
		t.Error("it goes on after its end")
	}
}
