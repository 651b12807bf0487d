package broker

import (
	"fmt"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// leave sends a DISCONNECT that changes the Session Expiry Interval.
func (p *peer) leave(expiry uint32) {
	d := packet.Disconnect{}
	d.Properties.SessionExpiry = expiry
	d.Properties.Set(packet.PropSessionExpiry)
	p.bytes(d.Append(nil, p.version))
}

// TestExpiryByDisconnect changes the Session Expiry Interval by DISCONNECT, and
// kills the broker: the next one must know what the last word was.
func TestExpiryByDisconnect(t *testing.T) {
	wall := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct{ before, after uint32 }{
		{60, never}, {60, 3600}, {60, never - 1}, {3600, 60}, {60, 1}, {60, 0}, {never, 60}, {never, 0}, {never - 1, never}, {60, 60}, {never, never},
	} {
		t.Run(fmt.Sprint(tt.before, " to ", tt.after), func(t *testing.T) {
			backend := memstore.New()
			w, _ := onStore(t, backend, wall, true)
			p, _, _ := w.join("c", expires(tt.before))
			p.subscribe("a", 1)
			p.leave(tt.after)
			w.turn()
			for _, away := range []time.Duration{0, 2 * time.Second, 61 * time.Second, 3601 * time.Second} {
				w, _ := onStore(t, backend, wall, true)
				w.pass(min(away, 61*time.Second))
				if away > w.now {
					w.now = away
					w.turn()
				}
				want := time.Duration(tt.after)*time.Second > away
				if n := w.b.Counters().Disconnected; (n == 1) != want {
					t.Errorf("after %v there are %d sessions, want one: %v", away, n, want)
				}
				if !want {
					break // it is gone from the disk too
				}
			}
		})
	}
}

// send publishes at QoS 1 with a Message Expiry Interval, and returns the reason
// code.
func (p *peer) send(topic, payload string, retain bool, seconds uint32) packet.ReasonCode {
	p.w.t.Helper()
	m := packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, ID: 9, Retain: retain}
	m.Properties.HasExpiry, m.Properties.MessageExpiry = true, seconds
	p.bytes(m.Append(nil, p.version))
	var ack packet.Ack
	if err := ack.Decode(p.version, byte(packet.PUBACK)<<4, p.next(packet.PUBACK)); err != nil {
		p.w.t.Fatal(err)
	}
	return ack.Code
}

// TestRetainedMakesRoom fills the limits with retained messages that end. They
// count no longer than they live.
func TestRetainedMakesRoom(t *testing.T) {
	for name, limit := range map[string]func(*setup){
		"messages": func(c *setup) { c.Limits.RetainedMessages = 3 },
		"bytes":    func(c *setup) { c.Limits.RetainedBytes = 3 * 8 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, quietly(2, limit))
			p := w.connect(packet.V5, "p")
			for i := range uint32(3) {
				if code := p.send(fmt.Sprint("r/", i), "12345", true, 10*(i+1)); code.Failed() {
					t.Fatalf("message %d: %v", i, code)
				}
			}
			if code := p.send("r/new", "123", true, 100); code != packet.QuotaExceeded {
				t.Errorf("at the limit: %v, want 0x97", code)
			}
			w.now += 10 * time.Second // the timer has not run yet
			if code := p.send("r/new", "123", true, 100); code.Failed() {
				t.Errorf("one has ended: %v", code)
			}
			if code := p.send("r/more", "12345", true, 100); code != packet.QuotaExceeded {
				t.Errorf("at the limit again: %v, want 0x97", code)
			}
			if c := w.b.Counters(); c.Retained != 3 || c.RetainedExpired != 1 || c.RetainedBytes != 3*8 {
				t.Errorf("%d retained, %d bytes, %d ended; want 3, 24, 1", c.Retained, c.RetainedBytes, c.RetainedExpired)
			}
		})
	}
}

// TestRetainedEnds proves that retained messages go when their time is over,
// though nobody asks for them: a bounded number in a turn, from disk as well,
// and also after a restart.
func TestRetainedEnds(t *testing.T) {
	const mostSwept = 250 // by one sweep
	const n = 3*mostSwept + 10
	wall := time.Unix(1_800_000_000, 0)
	records := func(b *memstore.Store) (n int) {
		if err := b.Scan([]byte{'t'}, []byte{'u'}, func(_, _ []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, how := range []string{"in memory", "stored", "restarted"} {
		t.Run(how, func(t *testing.T) {
			backend := memstore.New()
			var w *world
			var st *store.Store
			if how == "in memory" {
				w = newWorld(t, quietly(2))
			} else {
				w, st = onStore(t, backend, wall, true)
			}
			p := w.connect(packet.V5, "p")
			if code := p.send("stays", "x", true, 1<<31); code.Failed() {
				t.Fatal(code)
			}
			for i := range n {
				if code := p.send(fmt.Sprint("r/", i), "x", true, 30); code.Failed() {
					t.Fatal(code)
				}
			}
			if how == "restarted" {
				w, st = onStore(t, backend, wall.Add(w.now+35*time.Second), true)
			} else {
				w.pass(20 * time.Second)
				if c := w.b.Counters(); c.Retained != n+1 {
					t.Fatalf("%d retained, want %d", c.Retained, n+1)
				}
				w.now += 15 * time.Second
			}
			left := w.b.Counters().Retained
			for i := 0; left > 1; i++ {
				if i == 1000 {
					t.Fatalf("%d are left", left)
				}
				w.b.shards[0].Turn(w.now)
				now := w.b.Counters().Retained
				if left-now > mostSwept {
					t.Fatalf("%d went in one turn", left-now)
				}
				left = now
				w.now += tick
			}
			if c := w.b.Counters(); c.RetainedExpired != n || c.RetainedBytes != uint64(len("stays")+1) {
				t.Errorf("%d ended, %d bytes are left", c.RetainedExpired, c.RetainedBytes)
			}
			if how == "in memory" {
				return
			}
			st.Step()
			if got := records(backend); got != 1 {
				t.Errorf("%d records are left, want 1", got)
			}
			if how == "restarted" {
				w, _ = onStore(t, backend, wall.Add(time.Hour), true)
				if c := w.b.Counters(); c.Retained != 1 {
					t.Errorf("the next start finds %d", c.Retained)
				}
			}
		})
	}
}

// TestIntervals walks through all that expires, with the shortest and the
// longest intervals that there are: on the way to who listens, waiting in memory
// and on disk, in flight, retained, shared, from a will; and through delays of
// wills and sessions.
func TestIntervals(t *testing.T) {
	for _, where := range []string{"memory", "disk", "restart"} {
		for _, seconds := range []uint32{0, 1, 60, 1 << 31, never - 1, never} {
			t.Run(fmt.Sprint(where, "/", seconds), func(t *testing.T) {
				m := &machine{t: t, wall: time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC), boot: "a", disk: memoryDisk{memstore.New()}}
				if where == "memory" {
					m.w = newWorld(t, quietly(2))
				} else {
					m.start()
				}
				m.w.now += 1000 * time.Second
				m.w.turn()
				fillIntervals(m, seconds)
				if where == "restart" {
					m.kill()
					m.off(3 * time.Second)
					m.start()
				} else {
					m.w.pass(3 * time.Second)
				}
				readIntervals(m, seconds, where == "restart")
			})
		}
	}
}

// fillIntervals makes something of everything that lives for some seconds.
func fillIntervals(m *machine, seconds uint32) {
	w, t := m.w, m.t
	ear := w.connect(packet.V5, "ear")
	ear.subscribe("#", 0)
	far, further := w.connect(packet.V5, "far0"), w.connect(packet.V5, "far1") // on both shards
	far.subscribe("q", 1)
	further.subscribe("q", 1)
	heard := func(p *peer, what string) {
		t.Helper()
		if got, ok := p.message(); !ok || !got.Properties.HasExpiry || got.Properties.MessageExpiry != seconds {
			t.Errorf("%s came %v, with %d", what, ok, got.Properties.MessageExpiry)
		}
	}
	for id, filter := range map[string]string{"reader": "q", "member": "$share/g/s", "heir": "brief"} {
		p, _, _ := w.join(id, expires(never))
		p.subscribe(filter, 2)
		p.hang()
	}
	busy, _, _ := w.join("busy", expires(never))
	busy.subscribe("f", 1)
	p := w.connect(packet.V5, "p")
	for _, topic := range []string{"q", "s", "f", "r"} {
		p.send(topic, topic, topic == "r", seconds)
		heard(ear, topic)
		if topic == "q" {
			heard(far, "q")
			heard(further, "q")
		}
	}
	busy.hang() // it has f in flight
	withExpiry := func(c *packet.Connect) {
		c.Will.Properties.HasExpiry, c.Will.Properties.MessageExpiry = true, seconds
	}
	w.connect(packet.V5, "falls", expires(100), withWill(0), withExpiry).hang()
	heard(ear, "the will")
	w.connect(packet.V5, "ill", expires(never), withWill(seconds)).hang()
	if _, fired := ear.message(); fired != (seconds == 0) {
		t.Errorf("the will with delay was published at once: %v", fired)
	}
	w.connect(packet.V5, "brief", expires(2), withWill(seconds), func(c *packet.Connect) { c.Will.Topic = []byte("brief") }).hang()
	w.connect(packet.V5, "session", expires(seconds)).hang()
	for _, p := range []*peer{ear, far, further} {
		p.hang()
	}
}

// readIntervals looks what there is of it three seconds later.
func readIntervals(m *machine, seconds uint32, restarted bool) {
	w, t := m.w, m.t
	over := seconds <= 3
	left := func(p *peer, what string, late bool) {
		t.Helper()
		got, there := p.message()
		if there == (over && !late) {
			t.Errorf("%s is there: %v", what, there)
		}
		if e := got.Properties.MessageExpiry; there && !over && (e > seconds-2 || e < seconds-4) {
			t.Errorf("%s has %d seconds left", what, e)
		}
	}
	for _, id := range []string{"reader", "member", "busy"} {
		p, present, _ := w.join(id, expires(never))
		if !present {
			t.Errorf("%s: its session is gone", id)
		}
		w.turn()
		if restarted && over && id == "busy" {
			continue // whether it was in flight is not on disk
		}
		left(p, id, id == "busy")
	}
	late := w.connect(packet.V5, "late")
	late.subscribe("r", 0)
	left(late, "the retained message", false)
	if _, present, _ := w.join("session", expires(never)); present == over {
		t.Errorf("the session is there: %v", present)
	}
	heir, _, _ := w.join("heir", expires(never))
	if _, fired := heir.message(); !fired {
		t.Error("a will did not come when its session ended")
	}
	heir.quiet()
}

// TestEndedOnItsWay publishes messages that end before the other shard has them.
// Nobody gets one, and each is counted.
func TestEndedOnItsWay(t *testing.T) {
	for _, qos := range []packet.QoS{0, 1, 2} {
		w := newWorld(t, quietly(2))
		sub := w.connect(packet.V5, clientOn(1, 2, "sub"), expires(60))
		sub.subscribe("a", qos)
		pub := w.connect(packet.V5, clientOn(0, 2, "pub"))
		m := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: qos, ID: 1}
		m.Properties.HasExpiry, m.Properties.MessageExpiry = true, 1
		pub.offerOnly(m.Append(nil, packet.V5))
		w.now += 2 * time.Second
		w.turn()
		sub.quiet()
		if n := w.b.Counters().DroppedExpired; n != 1 {
			t.Errorf("QoS %d: %d messages are counted as expired", qos, n)
		}
	}
}
