package broker

import (
	"errors"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store/memstore"
)

// join sends a CONNECT without Clean Start, and returns Session Present and the
// reason code.
func (w *world) join(id string, change ...func(*packet.Connect)) (p *peer, present bool, code packet.ReasonCode) {
	w.t.Helper()
	c := packet.Connect{Version: packet.V5, ClientID: []byte(id)}
	for _, f := range change {
		f(&c)
	}
	p = w.dial(packet.V5)
	p.bytes(c.Append(nil))
	body := p.next(packet.CONNACK)
	if len(body) < 2 {
		w.t.Fatalf("%s: CONNACK %x", id, body)
	}
	return p, body[0] == 1, packet.ReasonCode(body[1])
}

// TestReadingWhileFull fills the disk. A client whose session is on disk comes
// back for its messages; who asks for more than that is refused.
func TestReadingWhileFull(t *testing.T) {
	backend := memstore.New()
	w, _ := onStore(t, backend, time.Now(), true)
	reader, _, _ := w.join("reader", expires(3600))
	reader.subscribe("a", 1)
	reader.hang()
	ill, _, _ := w.join("ill", expires(3600), withWill(60))
	ill.hang()
	pub := w.connect(packet.V5, "pub")
	pub.publish("a", "kept", 1, false)
	pub.next(packet.PUBACK)

	w, st := onStore(t, backend, time.Now(), true) // after a crash
	fresh, _, _ := w.join("fresh", expires(3600))
	pub = w.connect(packet.V5, "pub")
	st.Report(errors.New("no room on the disk"))
	w.b.StoreChanged()
	clean := func(c *packet.Connect) { c.CleanStart = true }
	for name, refused := range map[string]struct {
		id     string
		change []func(*packet.Connect)
	}{
		"a new session":                {"new", []func(*packet.Connect){expires(3600)}},
		"another expiry":               {"reader", []func(*packet.Connect){expires(7200)}},
		"the session's end":            {"reader", []func(*packet.Connect){expires(0)}},
		"a will":                       {"reader", []func(*packet.Connect){expires(3600), withWill(0)}},
		"a new session for an old":     {"reader", []func(*packet.Connect){expires(3600), clean}},
		"the end of an old session":    {"reader", []func(*packet.Connect){clean}},
		"the end of a will that waits": {"ill", []func(*packet.Connect){expires(3600)}},
		"a will of a client in memory": {"mem", []func(*packet.Connect){withWill(0)}},
	} {
		if _, _, code := w.join(refused.id, refused.change...); code != packet.QuotaExceeded {
			t.Errorf("%s: CONNACK %v, want 0x97", name, code)
		}
	}
	reader, present, code := w.join("reader", expires(3600))
	if !present || code != packet.Success {
		t.Fatalf("CONNACK present %v, %v", present, code)
	}
	reader.want("kept")
	again, present, code := w.join("reader", expires(3600)) // takes over
	if !present || code != packet.Success {
		t.Errorf("taken over: CONNACK present %v, %v", present, code)
	}
	fresh.hang()
	if _, present, code := w.join("fresh", expires(3600)); !present || code != packet.Success {
		t.Errorf("the session of this process: CONNACK present %v, %v", present, code)
	}
	pub.subscribe("a", 0)
	pub.publish("a", "live", 0, true)
	pub.want("live")
	again.want("live")
	w.now = w.now.Truncate(tick) + tick/10
	w.turn()
	again.hang()
	w.pass(time.Hour + tick/10) // its time is over, although its timer has not run
	if _, _, code := w.join("reader", expires(3600)); code != packet.QuotaExceeded {
		t.Errorf("after its end: CONNACK %v, want 0x97", code)
	}

	st.Report(nil)
	w.b.StoreChanged()
	late := w.connect(packet.V5, "late")
	late.subscribe("a", 0)
	late.quiet() // what came while the disk was full is not retained
	if _, _, code := w.join("new", expires(3600), withWill(0)); code != packet.Success {
		t.Errorf("the disk has room again: CONNACK %v", code)
	}
}

// TestUnwrittenSession proves that the session of a CONNECT that was not
// answered is not promised by another one while the disk is full.
func TestUnwrittenSession(t *testing.T) {
	w, st := onStore(t, memstore.New(), time.Now(), false)
	p := w.dial(packet.V5)
	c := packet.Connect{Version: packet.V5, ClientID: []byte("c")}
	expires(3600)(&c)
	p.bytes(c.Append(nil))
	p.quiet()
	p.hang()
	st.Report(errors.New("no room on the disk"))
	w.b.StoreChanged()
	if _, _, code := w.join("c", expires(3600)); code != packet.QuotaExceeded {
		t.Errorf("CONNACK %v, want 0x97", code)
	}
}

// TestSessionEndIsDurable proves that CONNACK for a clean start waits until the
// end of the older session is on disk, so that a crash can't bring that back.
func TestSessionEndIsDurable(t *testing.T) {
	backend := memstore.New()
	w, _ := onStore(t, backend, time.Now(), true)
	p, _, _ := w.join("c", expires(3600))
	p.subscribe("a", 1)
	p.hang()

	w, st := onStore(t, backend, time.Now(), false)
	p = w.dial(packet.V5)
	c := packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}
	p.bytes(c.Append(nil))
	if len(p.out) > 0 {
		t.Fatalf("CONNACK % x before the end of the session is on disk", p.out)
	}
	st.Step()
	w.turn()
	if body := p.next(packet.CONNACK); body == nil || body[0] != 0 || body[1] != 0 {
		t.Fatalf("CONNACK % x", body)
	}
	if st.Stats().Syncs == 0 {
		t.Error("CONNACK without a sync")
	}
	w, _ = onStore(t, backend, time.Now(), true) // after a crash
	if _, present, _ := w.join("c", expires(3600)); present {
		t.Error("the session is back")
	}
}

// TestWillDelayAcrossCrashes proves that the delay of a will begins with the
// end of its connection, or with the first start after it, also for sessions
// that never end; and that it begins anew with each connection.
func TestWillDelayAcrossCrashes(t *testing.T) {
	for _, expiry := range []uint32{3600, never} {
		backend, wall := memstore.New(), time.Unix(1_800_000_000, 0)
		w, _ := onStore(t, backend, wall, true)
		sub, _, _ := w.join("sub", expires(never))
		sub.subscribe("will", 1)
		w.join("c", expires(expiry), withWill(10))

		crash := func(after time.Duration) {
			w.pass(after)
			wall = wall.Add(after)
			w, _ = onStore(t, backend, wall, true)
			sub, _, _ = w.join("sub", expires(never))
		}
		crash(0)
		crash(6 * time.Second)
		w.pass(3 * time.Second)
		sub.quiet()
		w.pass(2 * time.Second)
		sub.want("gone")

		p, _, _ := w.join("c", expires(expiry), withWill(10))
		p.hang()
		crash(time.Second)
		w.join("c", expires(expiry), withWill(10)) // in time
		crash(time.Minute)
		w.pass(9 * time.Second)
		sub.quiet()
		if _, present, _ := w.join("c", expires(expiry)); !present {
			t.Errorf("expiry %d: no session", expiry)
		}
		w.pass(time.Minute)
		sub.quiet()
	}
}

// TestReleaseWaitsForTheDisk lets a client acknowledge a QoS 2 message with PUBREC
// while the disk is full, and come back. PUBREL comes only when the disk has taken
// that: after a crash before, the message would come a second time, and the client
// would have forgotten the first.
func TestReleaseWaitsForTheDisk(t *testing.T) {
	for _, takesOver := range []bool{false, true} {
		w, st := onStore(t, memstore.New(), time.Now(), true)
		reader, _, _ := w.join("reader", expires(3600))
		reader.subscribe("a", 2)
		w.connect(packet.V5, "pub").publish("a", "x", 2, false)
		m, ok := reader.silent()
		if !ok || m.QoS != 2 {
			t.Fatalf("got a message %v at QoS %d, want QoS 2", ok, m.QoS)
		}
		st.Report(errors.New("no room on the disk"))
		w.b.StoreChanged()
		reader.bytes((&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, packet.V5))
		reader.quiet()
		if !takesOver {
			reader.hang()
		}
		var present bool
		if reader, present, _ = w.join("reader", expires(3600)); !present {
			t.Fatal("the session is gone")
		}
		reader.quiet()
		st.Report(nil)
		w.b.StoreChanged()
		st.Step()
		w.turn()
		if reader.next(packet.PUBREL) == nil {
			t.Errorf("taken over %v: no PUBREL although the disk has room again", takesOver)
		}
		reader.quiet()
	}
}
