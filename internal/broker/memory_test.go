package broker

import (
	"fmt"
	"testing"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store/memstore"
)

// press sets the pressure, and lets the shards know.
func (w *world) press(p Pressure) {
	w.b.SetPressure(p, Memory{Used: 50, Budget: 100, Slow: 1 << 40, Full: 1 << 40})
	w.turn()
}

// TestPressureRefuses refuses clients by the version's own word, and takes them
// again when there is room.
func TestPressureRefuses(t *testing.T) {
	for v, want := range map[packet.Version]packet.ReasonCode{
		packet.V31: packet.ServerUnavailable, packet.V311: packet.ServerUnavailable, packet.V5: packet.QuotaExceeded,
	} {
		t.Run(v.String(), func(t *testing.T) {
			w := newWorld(t, quietly(2))
			before := w.connect(v, "before")
			w.press(RefuseConnects)
			p := w.dial(v)
			p.bytes((&packet.Connect{Version: v, ClientID: []byte("late"), CleanStart: true}).Append(nil))
			var ack packet.Connack
			if err := ack.Decode(v, 0x20, p.next(packet.CONNACK)); err != nil || ack.Code != want || !p.closed {
				t.Errorf("CONNACK %v, %v, closed %v; want %v", ack.Code, err, p.closed, want)
			}
			if n := w.b.Counters().RefusedMemory; n != 1 {
				t.Errorf("%d refused, want 1", n)
			}
			before.subscribe("t", 1)
			before.publish("t", "x", 0, false) // who is in is served
			before.want("x")
			w.press(NoPressure)
			w.connect(v, "later")
		})
	}
}

// TestPressurePausesPublishers gives each of several publishers one packet in a
// round, whatever the QoS, and all of the rest when there is room.
func TestPressurePausesPublishers(t *testing.T) {
	for qos := range packet.QoS(3) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			w := newWorld(t, quietly(2))
			reader := w.connect(packet.V311, "reader")
			reader.subscribe("#", 0)
			var publishers []*peer
			for i := range 4 {
				publishers = append(publishers, w.connect(packet.V311, fmt.Sprint("p", i)))
			}
			w.press(SlowPublishers)
			for _, p := range publishers {
				var all []byte
				for i := range 10 {
					m := packet.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: qos}
					if qos > 0 {
						m.ID = packet.ID(i + 1)
					}
					all = m.Append(all, packet.V311)
				}
				p.bytes(all)
			}
			count := func() (n int) {
				for {
					if _, ok := reader.message(); !ok {
						return n
					}
					n++
				}
			}
			if n := count(); n != 4 {
				t.Fatalf("%d messages before the first round, want one of each publisher", n)
			}
			for round := range 3 {
				w.press(SlowPublishers)
				if n := count(); n != 4 {
					t.Fatalf("%d messages in round %d, want one of each publisher", n, round)
				}
			}
			w.press(RefuseConnects)
			if n := count(); n != 24 {
				t.Fatalf("%d messages after the pressure, want 24", n)
			}
			if n := w.b.Counters().PausedMemory; n != 16 {
				t.Errorf("publishers paused %d times, want 16", n)
			}
		})
	}
}

// TestPressureDrops drops QoS 0 for a reader that is behind, and for nobody else.
func TestPressureDrops(t *testing.T) {
	w := newWorld(t, quietly(1))
	slow, fast := w.connect(packet.V5, "slow"), w.connect(packet.V5, "fast")
	slow.subscribe("#", 0)
	fast.subscribe("#", 0)
	slow.deaf = true
	publisher := w.connect(packet.V5, "publisher")
	payload := string(make([]byte, pendingUnderPressure+1))
	publisher.publish("t", payload, 0, false)
	w.press(SlowPublishers)
	for range 3 {
		publisher.publish("t", "x", 0, false)
		w.press(SlowPublishers)
	}
	fast.want(payload)
	for range 3 {
		fast.want("x")
	}
	if c := w.b.Counters(); c.DroppedMemory != 3 || c.DroppedSlow != 0 || c.Dropped() != 3 {
		t.Errorf("%d dropped for memory and %d for slowness, want 3 and 0", c.DroppedMemory, c.DroppedSlow)
	}
}

// TestPressureCloses closes the readers that are behind furthest, as many as it
// takes, over all shards, with the reason; and it queues nothing in memory.
func TestPressureCloses(t *testing.T) {
	w := newWorld(t, quietly(4))
	var readers []*peer
	for i := range 40 {
		r := w.connect(packet.V5, fmt.Sprint("r", i))
		r.subscribe(fmt.Sprint("t/", i/10), 0)
		readers = append(readers, r)
		r.deaf = true
	}
	publisher := w.connect(packet.V5, "publisher")
	behind := func(i int) int { return (i/10 + 1) * 100_000 } // bytes
	for i := range 4 {
		publisher.publish(fmt.Sprint("t/", i), string(make([]byte, behind(i*10))), 0, false)
	}
	w.press(CloseReaders)
	const free = 3_000_000
	w.b.Shed(free)
	w.turn()
	closed, freed := 0, 0
	for i, r := range readers {
		if r.closed {
			closed++
			freed += behind(i)
		}
	}
	// Each shard may give up one reader more than its share.
	if freed < free || freed > free+4*400_000 {
		t.Errorf("%d readers with %d bytes were closed, for %d", closed, freed, free)
	}
	if n := w.b.Counters().ClosedMemory; n != uint64(closed) {
		t.Errorf("%d counted, %d closed", n, closed)
	}
	if publisher.closed {
		t.Error("a client that is not behind was closed")
	}
	for i, r := range readers[:10] {
		if r.closed {
			t.Errorf("reader %d, which is behind least, was closed", i)
		}
	}

	away := w.connectAgain(t)
	publisher.publish("away", "x", 1, false)
	if c := w.b.Counters(); c.DroppedMemory != 1 || away.session.Queued() != 0 {
		t.Errorf("%d dropped, %d waiting; want 1 and 0", c.DroppedMemory, away.session.Queued())
	}
}

// connectAgain makes a session in memory whose client is away.
func (w *world) connectAgain(t *testing.T) *client {
	w.press(NoPressure)
	p := w.connect(packet.V5, "away", func(c *packet.Connect) {
		c.Properties.SessionExpiry = 100
		c.Properties.Set(packet.PropSessionExpiry)
	})
	p.subscribe("away", 1)
	p.hang()
	w.press(CloseReaders)
	for _, s := range w.b.shards {
		if cl := s.clients.Get("away"); cl != nil {
			return cl
		}
	}
	t.Fatal("no session")
	return nil
}

// TestMemoryBetweenMeasurements floods readers that don't read, after memory was
// measured once and is not again, as on a machine that is too busy for it: the
// shards take on no more than they were told. Others are served in the meantime,
// and all go on after the next measurement.
func TestMemoryBetweenMeasurements(t *testing.T) {
	const shards, readers, publishers, messages, size, room = 4, 90, 3, 40, 32 << 10, 8 << 20
	for qos := range packet.QoS(3) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			w := newWorld(t, quietly(shards))
			var all []*peer
			for i := range readers {
				r := w.connect(packet.V311, fmt.Sprint("reader", i))
				r.subscribe("flood", qos)
				r.deaf = true
				all = append(all, r)
			}
			idle := w.connect(packet.V5, "idle")
			idle.subscribe("pair", qos)
			var flooders []*peer
			for i := range publishers {
				flooders = append(flooders, w.connect(packet.V311, fmt.Sprint("flooder", i)))
			}
			measure := func(p Pressure, room int64) {
				w.b.SetPressure(p, Memory{Used: 50, Budget: 100, Slow: room, Full: room})
				w.turn()
			}
			pending := func() (sum int) {
				for _, r := range all {
					sum += len(r.pending)
				}
				return sum
			}
			measure(NoPressure, room)
			payload := make([]byte, size)
			for i := range messages {
				for _, f := range flooders {
					m := packet.Publish{Topic: []byte("flood"), Payload: payload, QoS: qos}
					if qos > 0 {
						m.ID = packet.ID(i + 1)
					}
					f.offerOnly(m.Append(nil, packet.V311))
					if qos == 2 {
						f.offerOnly((&packet.Ack{Type: packet.PUBREL, ID: m.ID}).Append(nil, packet.V311))
					}
				}
				w.turn()
			}
			// Each shard draws a little in advance, and ends with the message that is on.
			most := room + shards*(drawBytes+size)
			if n := pending(); n > most || n < room/2 {
				t.Errorf("%d bytes are pending, want at most %d", n, most)
			}
			select {
			case <-w.b.MemoryAsked():
			default:
				t.Error("nobody asks for a measurement")
			}
			if c := w.b.Counters(); c.PausedMemory == 0 {
				t.Error("the publishers were not paused")
			}
			// A message that others have sent before is delivered although nothing is taken on.
			for _, s := range w.b.shards {
				if !s.budget.shut {
					t.Errorf("shard %d takes on more", s.index)
				}
				s.deliverLocal(s.routes.Receivers([]byte("pair")), &message.Message{Topic: []byte("pair"), Payload: []byte("small"), QoS: qos}, nil, 0)
			}
			w.turn()
			idle.want("small")
			// The budget is used up: a packet of each shard in a round.
			before := pending()
			for range 10 {
				measure(CloseReaders, -1)
			}
			if n := pending() - before; n > 10*shards*(trickle+size+size/2) {
				t.Errorf("%d bytes more are pending after 10 rounds", n)
			}
			for _, r := range all {
				r.deaf = false
			}
			for range messages { // mailboxes have limits, too
				measure(NoPressure, 1<<40)
			}
			for i, f := range flooders {
				if len(f.in) > 0 || f.paused {
					t.Errorf("flooder %d is still paused", i)
				}
			}
		})
	}
}

// TestEndedSessionsHoldNothing ends a session for which messages wait. The route of
// their topic still knows the client, and must not keep them in memory.
func TestEndedSessionsHoldNothing(t *testing.T) {
	w := newWorld(t, quietly(1))
	r := w.connect(packet.V311, "reader")
	r.subscribe("t", 1)
	publisher := w.connect(packet.V311, "publisher")
	publisher.publish("t", "under way", 1, false)
	cl := w.b.shards[0].clients.Get("reader")
	if cl.session.Inflight() != 1 {
		t.Fatalf("%d under way, want 1", cl.session.Inflight())
	}
	r.hang()
	if n := cl.session.Inflight() + cl.session.Queued(); n != 0 {
		t.Errorf("the session holds %d messages after its end", n)
	}
}

// TestRetainedWithinBudget retains messages until no more are taken: a third of the
// budget at most, and none beyond what there is while memory is short. A message
// of a topic that has one is taken as long as it is no larger.
func TestRetainedWithinBudget(t *testing.T) {
	const budget, size = 3 << 20, 64 << 10
	w := newWorld(t, quietly(2))
	p := w.connect(packet.V5, "publisher")
	retain := func(topic string, size int) packet.ReasonCode {
		t.Helper()
		p.publish(topic, string(make([]byte, size)), 1, true)
		var a packet.Ack
		if err := a.Decode(packet.V5, 0x40, p.next(packet.PUBACK)); err != nil {
			t.Fatal(err)
		}
		return a.Code
	}
	fill := func() (n int) {
		for n < 100 && !retain(fmt.Sprint("t", n), size).Failed() {
			n++
		}
		return n
	}
	w.measure(budget)
	if n := fill(); n != budget/retainedShare/size-1 { // topics count, too
		t.Errorf("%d messages were retained", n)
	}
	if code := retain("t0", size); code.Failed() {
		t.Errorf("a message in the place of another is answered with %v", code)
	}
	if code := retain("t0", 2*size); !code.Failed() {
		t.Errorf("a larger message is answered with %v", code)
	}
	if n := w.b.Counters().RefusedRetained; n != 2 {
		t.Errorf("%d counted as refused, want 2", n)
	}
	for _, pressure := range []Pressure{SlowPublishers, CloseReaders} {
		w.measure(1 << 40)
		retain("t1", 0)
		w.b.SetPressure(pressure, Memory{Budget: 1 << 40, Slow: 1 << 40, Full: 1 << 40})
		w.turn()
		if code := retain("t1", 10); code != packet.QuotaExceeded {
			t.Errorf("with pressure %d: %v", pressure, code)
		}
		w.measure(1 << 40)
		if code := retain("t1", 10); code.Failed() {
			t.Errorf("after the pressure: %v", code)
		}
	}
}

// TestNoSubscriptionsWithoutMemory refuses new subscriptions when memory is used up,
// and takes others for those that are there.
func TestNoSubscriptionsWithoutMemory(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		w := newWorld(t, quietly(1))
		p := w.connect(v, "p")
		p.subscribe("old", 0)
		w.press(CloseReaders)
		want := packet.ReasonCode(0x80)
		if v == packet.V5 {
			want = packet.QuotaExceeded
		}
		if code := p.subscribe("new", 0); code != want {
			t.Errorf("%v: %v, want %v", v, code, want)
		}
		if code := p.subscribe("old", 1); code != 1 {
			t.Errorf("%v: for the one that is there: %v", v, code)
		}
		if n := w.b.Counters().RefusedMemory; n != 1 {
			t.Errorf("%v: %d counted, want 1", v, n)
		}
		w.press(NoPressure)
		if code := p.subscribe("new", 0); code != 0 {
			t.Errorf("%v: afterwards: %v", v, code)
		}
	}
}

// TestPressureLetsBack takes those clients while memory is short who give some of it
// back: they come for messages that wait in memory, or give them up, or come in the place of a
// connection. All others are refused, also those whose messages wait on disk.
func TestPressureLetsBack(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for p := RefuseConnects; p <= CloseReaders; p++ {
			for qos := packet.QoS(1); qos <= 2; qos++ {
				t.Run(fmt.Sprintf("%v/pressure %d/QoS %d", v, p, qos), func(t *testing.T) {
					letsBack(t, newWorld(t, quietly(3)), v, p, qos, true)
				})
			}
			t.Run(fmt.Sprintf("%v/pressure %d/on disk", v, p), func(t *testing.T) {
				w, _ := onShards(t, memstore.New(), quietly(3), true)
				letsBack(t, w, v, p, 1, false)
			})
		}
	}
}

func letsBack(t *testing.T, w *world, v packet.Version, pressure Pressure, qos packet.QoS, inMemory bool) {
	lasting := func(c *packet.Connect) {
		if c.CleanStart = false; v == packet.V5 {
			expires(3600)(c)
		}
	}
	publisher := w.connect(v, "publisher")
	for _, id := range []string{"reader", "leaver", "under way", "idle"} {
		p := w.connect(v, id, lasting)
		p.subscribe(id, qos)
		if id == "under way" {
			publisher.publish(id, "x", 1, false)
			publisher.next(packet.PUBACK)
		}
		p.hang()
	}
	for _, id := range []string{"reader", "leaver"} {
		publisher.publish(id, "x", 1, false)
		publisher.next(packet.PUBACK)
	}
	twin := w.connect(v, "twin")
	w.press(pressure)
	come := func(id string, want bool, change ...func(*packet.Connect)) *peer {
		t.Helper()
		p := w.dial(v)
		c := packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}
		for _, f := range change {
			f(&c)
		}
		p.bytes(c.Append(nil))
		if body := p.next(packet.CONNACK); len(body) < 2 || (body[1] == 0) != want {
			t.Errorf("%s: CONNACK %x, want it to be let in: %v", id, body, want)
		}
		return p
	}
	come("stranger", false)
	come("idle", false, lasting)
	if r := come("reader", inMemory, lasting); inMemory {
		r.want("x")
	}
	come("under way", inMemory, lasting)
	come("leaver", inMemory)
	come("twin", true)
	if !twin.closed {
		t.Error("the connection of twin is still there")
	}
	refused := uint64(2)
	if !inMemory {
		refused += 3
	}
	if n := w.b.Counters().RefusedMemory; n != refused {
		t.Errorf("%d counted as refused, want %d", n, refused)
	}
}

// TestPressureLetsMembersBack takes a member of a group for which messages wait in
// memory while memory is short: nobody else would take them. Where they wait on disk
// it is refused, and so is a member of a group for which nothing waits.
func TestPressureLetsMembersBack(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for p := RefuseConnects; p <= CloseReaders; p++ {
			for _, inMemory := range []bool{true, false} {
				t.Run(fmt.Sprintf("%v/pressure %d/in memory %v", v, p, inMemory), func(t *testing.T) {
					w := newWorld(t, quietly(3))
					if !inMemory {
						w, _ = onShards(t, memstore.New(), quietly(3), true)
					}
					letsMembersBack(t, w, v, p, inMemory)
				})
			}
		}
	}
}

func letsMembersBack(t *testing.T, w *world, v packet.Version, pressure Pressure, inMemory bool) {
	connect := func(id string) *peer {
		c := packet.Connect{Version: v, ClientID: []byte(id)}
		if v == packet.V5 {
			expires(3600)(&c)
		}
		p := w.dial(v)
		p.bytes(c.Append(nil))
		return p
	}
	for _, id := range []string{"member", "idle"} {
		p := connect(id)
		p.next(packet.CONNACK)
		p.subscribe("$share/g/"+id, 1)
		p.hang()
	}
	w.connect(v, "publisher").publish("member", "x", 1, false)
	w.press(pressure)
	if body := connect("idle").next(packet.CONNACK); body[1] == 0 {
		t.Error("a member for whose group nothing waits is let in")
	}
	p := connect("member")
	if body := p.next(packet.CONNACK); (body[1] == 0) != inMemory {
		t.Fatalf("CONNACK % x for the member", body)
	}
	if w.turn(); inMemory {
		p.want("x")
	}
}

// TestPressureClosesWhoDoesNotAcknowledge closes clients that read and don't
// acknowledge, if the messages that are kept for it go with their connections. Of
// those that stay in memory they get no more.
func TestPressureClosesWhoDoesNotAcknowledge(t *testing.T) {
	const size, messages = 8 << 10, 10
	for _, expiry := range []uint32{0, 3600} {
		for _, window := range []uint16{1, 100} { // waiting, or in flight
			t.Run(fmt.Sprintf("expiry %d/window %d", expiry, window), func(t *testing.T) {
				w := newWorld(t, quietly(2))
				come := func(id string) *peer {
					return w.connect(packet.V5, id, expires(expiry), func(c *packet.Connect) {
						c.Properties.ReceiveMaximum = window
						c.Properties.Set(packet.PropReceiveMaximum)
					})
				}
				reader, silent := come("reader"), come("silent")
				publisher := w.connect(packet.V5, "publisher")
				publish := func() {
					publisher.publish("t", string(make([]byte, size)), 1, false)
					for _, ok := reader.message(); ok; _, ok = reader.message() {
					}
				}
				reader.subscribe("t", 1)
				silent.subscribe("t", 1)
				for range messages {
					publish()
				}
				w.press(CloseReaders)
				cl := w.b.shards[shardOf([]byte("silent"), 2)].clients.Get("silent")
				before := cl.session.ContentBytes()
				publish()
				if got := cl.session.ContentBytes(); got != before || before < messages*size {
					t.Errorf("%d bytes are kept for it, and then %d", before, got)
				}
				w.b.Shed(1)
				w.turn()
				if ends := expiry == 0; silent.closed != ends || reader.closed {
					t.Errorf("closed: %v, and the one that acknowledges: %v", silent.closed, reader.closed)
				}
				if c := w.b.Counters(); c.DroppedMemory != 1 {
					t.Errorf("%d dropped, want 1", c.DroppedMemory)
				}
			})
		}
	}
}

// TestPressureKeepsWhatWaitsWithGroup deals out what waits with a group, and hands over what a
// member leaves behind, while memory is used up: messages that were there before
// take no more, and none is dropped.
func TestPressureKeepsWhatWaitsWithGroup(t *testing.T) {
	const size, messages = 8 << 10, 40
	for _, inMemory := range []bool{true, false} {
		for _, full := range []int64{1 << 40, -1} { // what may be taken on all the same
			for _, left := range []bool{false, true} { // behind by a member, or in the queue
				t.Run(fmt.Sprintf("in memory %v/room %d/left %v", inMemory, full, left), func(t *testing.T) {
					w := newWorld(t, quietly(3))
					if !inMemory {
						w, _ = onShards(t, memstore.New(), quietly(3), true)
					}
					keepsWhatWaits(t, w, full, left, size, messages)
				})
			}
		}
	}
}

func keepsWhatWaits(t *testing.T, w *world, full int64, left bool, size, messages int) {
	const share = "$share/g/t"
	lasting := w.connect(packet.V5, "lasting", expires(3600))
	lasting.subscribe(share, 1)
	var leaver *peer
	if left {
		leaver = w.connect(packet.V5, "leaver")
		leaver.subscribe(share, 1)
	}
	lasting.hang()
	publisher := w.connect(packet.V5, "publisher")
	for i := range messages {
		publisher.publish("t", fmt.Sprintf("%*d", size, i), 1, false)
	}
	press := func() {
		w.b.SetPressure(CloseReaders, Memory{Used: 100, Budget: 100, Slow: full, Full: full})
		w.turn()
	}
	lasting = w.connect(packet.V5, "lasting", expires(3600), func(c *packet.Connect) {
		c.Properties.ReceiveMaximum = 6 // more than a client may hold that counts as one which keeps up
		c.Properties.Set(packet.PropReceiveMaximum)
	})
	if press(); left {
		leaver.hang()
	}
	got := map[string]bool{}
	for range 40 * messages {
		press()
		for m, ok := lasting.message(); ok; m, ok = lasting.message() {
			got[string(m.Payload)] = true
		}
	}
	if c := w.b.Counters(); len(got) != messages || c.Dropped() != 0 {
		t.Errorf("%d messages came of %d, %d were dropped", len(got), messages, c.Dropped())
	}
}

// TestMemoryShare proves that shards draw from what may be taken on together, slow
// publishers down and shut by themselves, and begin anew with a round.
func TestMemoryShare(t *testing.T) {
	var m memory
	m.init()
	var one, two memoryShare
	one.init(&m, 1<<20)
	two.init(&m, 1<<20)
	m.slow.Store(4 * drawBytes)
	m.full.Store(8 * drawBytes)
	asked := func() bool {
		select {
		case <-m.ask:
			return true
		default:
			return false
		}
	}
	one.charge(1)
	if taken := m.taken.Load(); taken < drawBytes || taken > 2*drawBytes || asked() {
		t.Errorf("%d bytes are drawn", taken)
	}
	two.charge(drawBytes)
	if !asked() || one.pressure != NoPressure || two.pressure != NoPressure {
		t.Error("half of it is taken on, and nobody measures memory")
	}
	one.charge(3 * drawBytes)
	if one.pressure != SlowPublishers || one.pending != pendingUnderPressure || !m.short.Load() || one.shut {
		t.Error("publishers are not slowed down")
	}
	two.charge(4 * drawBytes)
	if !two.shut || two.pending != -1 {
		t.Error("something is taken on although there is no room")
	}
	two.begin(NoPressure, trickle)
	if two.shut || !two.round || two.credit != trickle || two.pending != 1<<20 {
		t.Error("the round does not begin anew")
	}
	if two.setMaxPending(10); two.pending != 10 {
		t.Error("the new limit is not in force")
	}
}
