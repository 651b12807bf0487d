package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store/memstore"
)

// slowReader is a client that takes a few bytes at a time and answers what it
// gets at once.
type slowReader struct {
	*peer
	got     []uint32          // numbers of messages, as they came first
	begun   map[packet.ID]int // QoS 2 that was received and not released
	largest int               // of pending
}

// step takes what has come, checks it and answers.
func (r *slowReader) step(t *testing.T) {
	t.Helper()
	for {
		first, body, size, err := packet.Split(r.out, packet.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		if size == 0 {
			return
		}
		r.out = r.out[size:]
		switch packet.TypeOf(first) {
		case packet.PUBLISH:
			var m packet.Publish
			if err := m.Decode(r.version, first, body); err != nil {
				t.Fatal(err)
			}
			if m.Dup {
				t.Fatal("DUP within a connection")
			}
			if r.got = append(r.got, binary.BigEndian.Uint32(m.Payload)); m.QoS == 2 {
				r.begun[m.ID]++
				r.offerOnly((&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, r.version))
			} else {
				r.offerOnly((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, r.version))
			}
		case packet.PUBREL:
			var a packet.Ack
			if err := a.Decode(r.version, first, body); err != nil {
				t.Fatal(err)
			}
			if r.begun[a.ID]--; r.begun[a.ID] != 0 {
				t.Fatalf("PUBREL for %d, which was not received", a.ID)
			}
			r.offerOnly((&packet.Ack{Type: packet.PUBCOMP, ID: a.ID}).Append(nil, r.version))
		case packet.DISCONNECT:
			t.Fatalf("DISCONNECT % x after %d messages", body, len(r.got))
		}
	}
}

// TestSlowReaders walks through QoS, stores, sizes and rates: who takes anything
// at all of what is sent to it stays connected, gets everything in order, and
// never makes the broker hold more than limits.pending_bytes and a packet.
func TestSlowReaders(t *testing.T) {
	const pending = 64 << 10
	for _, stored := range []bool{false, true} {
		for _, qos := range []packet.QoS{1, 2} {
			for _, size := range []int{4, 100, 20_000, 900_000} {
				for _, rate := range []int{0, 1, 500, 1 << 20} { // bytes at a time; 0: what there is
					for _, late := range []bool{false, true} { // the messages wait, or come while it reads
						if late && rate == 1 {
							continue
						}
						t.Run(fmt.Sprintf("stored %v, QoS %d, %d bytes, %d at a time, live %v", stored, qos, size, rate, late), func(t *testing.T) {
							count := min(2000, 2_000_000/size)
							if rate == 1 {
								count = max(1, 3000/size)
							} else if rate == 500 {
								count = max(2, min(count, 400_000/size))
							}
							readSlowly(t, stored, qos, size, rate, count, pending, late)
						})
					}
				}
			}
		}
	}
}

func readSlowly(t *testing.T, stored bool, qos packet.QoS, size, rate, count, pending int, live bool) {
	t.Helper()
	limits := func(c *setup) {
		c.Limits.PendingBytes = settings.Size(pending)
		c.Session.QueuedMessages, c.Session.QueuedBytes = 10_000, 1<<30
	}
	w, st := onStore(t, memstore.New(), time.Now(), true, limits)
	if !stored {
		w = newWorld(t, quietly(1, limits))
	}
	p, _, _ := w.join("reader", expires(3600))
	p.subscribe("a", qos)
	pub := w.connect(packet.V5, "pub")
	if !live {
		p.hang()
	}
	r := &slowReader{peer: p, begun: map[packet.ID]int{}}
	r.sip = rate
	most := pending + size + 100
	payload := bytes.Repeat([]byte("x"), size)
	turn := func() {
		st.StepReads() // of what was not committed yet
		w.turn()
		r.largest = max(r.largest, len(r.pending))
		r.step(t)
	}
	for i := range count {
		binary.BigEndian.PutUint32(payload, uint32(i))
		m := packet.Publish{Topic: []byte("a"), Payload: payload, QoS: qos, ID: 9}
		pub.offerOnly(m.Append(nil, packet.V5))
		pub.offerOnly((&packet.Ack{Type: packet.PUBREL, ID: 9}).Append(nil, packet.V5))
		if live {
			turn()
		} else {
			w.turn()
		}
		if pub.closed {
			t.Fatal("the publisher was closed")
		}
		pub.out = nil
	}
	if !live {
		p, _, _ = w.join("reader", expires(3600))
		r.peer = p
		r.sip = rate
	}
	for quiet := 0; len(r.got) < count && quiet < 10; {
		before := r.taken
		w.now += 20 * time.Second // each time takes long, but for what is there
		turn()
		if r.closed {
			t.Fatalf("closed after %d messages of %d", len(r.got), count)
		}
		if quiet++; r.taken != before {
			quiet = 0
		}
	}
	for i, n := range r.got {
		if int(n) != i {
			t.Fatalf("message %d came as number %d", n, i)
		}
	}
	if len(r.got) != count {
		t.Fatalf("%d of %d messages came", len(r.got), count)
	}
	if r.largest > most {
		t.Errorf("%d bytes were pending, %d and a packet may be", r.largest, pending)
	}
	if n := w.b.Counters(); n.SlowDisconnects != 0 || n.DroppedQueue != 0 {
		t.Errorf("%d slow disconnects, %d dropped", n.SlowDisconnects, n.DroppedQueue)
	}
}

// TestReaderThatStops proves that a client which reads nothing is held for a
// while, at a bounded price, and is then disconnected; and that one which takes
// a byte now and then is not.
func TestReaderThatStops(t *testing.T) {
	for _, sips := range []bool{false, true} {
		w, _ := onStore(t, memstore.New(), time.Now(), true, func(c *setup) { c.Limits.PendingBytes = 10_000 })
		p, _, _ := w.join("reader", expires(3600))
		p.subscribe("a", 1)
		pub := w.connect(packet.V5, "pub")
		p.deaf = true
		for range 100 {
			pub.publish("a", string(make([]byte, 1000)), 1, false)
			pub.out = nil
		}
		for range 10 {
			w.pass(slowPatience / 2)
			p.bytes(packet.Pingreq{}.Append(nil, packet.V5)) // it lives
			if sips {
				p.taken++
			}
		}
		if p.closed == sips || len(p.pending) > 12_000 {
			t.Errorf("takes something %v: closed %v, %d bytes pending", sips, p.closed, len(p.pending))
		}
	}
}

// TestAskingWithoutReading proves that answers which nobody reads end a
// connection, and that messages which wait for it beside do not.
func TestAskingWithoutReading(t *testing.T) {
	const pending = 10_000
	w, _ := onStore(t, memstore.New(), time.Now(), true, func(c *setup) { c.Limits.PendingBytes = settings.Size(pending) })
	p, _, _ := w.join("reader", expires(3600))
	p.subscribe("a", 1)
	pub := w.connect(packet.V5, "pub")
	p.deaf = true
	pub.publish("a", string(make([]byte, 200_000)), 1, false)
	asked := 0
	ping := packet.Pingreq{}.Append(nil, packet.V5)
	for !p.closed && asked < pending {
		p.bytes(ping)
		asked++
	}
	if most := 200_000 + 2*pending; !p.closed || len(p.pending) > most || 2*asked < pending {
		t.Errorf("closed %v after %d PINGREQ with %d bytes pending", p.closed, asked, len(p.pending))
	}
	// This one asks as much, and takes as much, while more than the limit is
	// always pending.
	q, _, _ := w.join("other", expires(3600))
	q.subscribe("b", 1)
	q.sip = 1
	pub.publish("b", string(make([]byte, 300_000)), 1, false)
	for range 2 * pending {
		q.bytes(ping)
		q.out = nil
		if len(q.pending) < 2*pending {
			t.Fatal("nothing is pending")
		}
	}
	if q.closed {
		t.Error("a client that takes what it asks for was closed")
	}
}

// TestTwoTurnsBeforeTheOutputIsWritten proves that a client is not forgotten whose
// shard gets two turns before the engine writes, and then writes everything, so
// that Drained does not come.
func TestTwoTurnsBeforeTheOutputIsWritten(t *testing.T) {
	w, _ := onStore(t, memstore.New(), time.Now(), true, func(c *setup) { c.Limits.PendingBytes = 4 << 10 })
	p, _, _ := w.join("reader", expires(3600))
	p.subscribe("a", 1)
	pub := w.connect(packet.V5, "pub")
	for range 2 {
		m := packet.Publish{Topic: []byte("a"), Payload: make([]byte, 5000), QoS: 1, ID: 9}
		pub.offerOnly(m.Append(nil, packet.V5))
	}
	for range 3 {
		w.b.shards[0].Turn(w.now)
	}
	p.write()
	w.pass(time.Second)
	if got, _ := p.payloads(); len(got) != 2 {
		t.Errorf("%d of 2 messages came", len(got))
	}
}

// TestSlowReaderStates goes through what a slow reader may be: it catches up at once,
// later, or never, and asks for more than it takes.
func TestSlowReaderStates(t *testing.T) {
	w := newWorld(t, quietly(1))
	var r slowReaders
	r.init()
	var resumed []*conn
	resume := func(c *conn) { resumed = append(resumed, c) }
	shut := false
	p := w.connect(packet.V5, "p")
	c := connOf(p)
	p.pending = []byte("x")
	now := time.Minute
	if !r.hold(c, now) || r.hold(c, now) || !c.client.session.Link.Hold {
		t.Fatal("it is not held, or twice")
	}
	if !r.release(&shut, resume) || r.release(&shut, resume) || len(resumed) > 0 {
		t.Fatal("one more turn shows whether Drained will come")
	}
	if caughtUp, stuck := r.look(c, now+firstLook-1); caughtUp || stuck {
		t.Error("it is looked at too early")
	}
	if caughtUp, stuck := r.look(c, now+slowPatience-1); caughtUp || stuck {
		t.Error("it is stuck too early")
	}
	p.taken++
	if _, stuck := r.look(c, now+slowPatience); stuck {
		t.Error("it has taken something, and is stuck")
	}
	if _, stuck := r.look(c, now+2*slowPatience); !stuck {
		t.Error("it has taken nothing, and is not stuck")
	}
	if r.answered(c, 100); r.pilesUp(c, 100) || !r.pilesUp(c, 99) {
		t.Error("answers that pile up are not noticed")
	}
	p.taken += 100
	if r.pilesUp(c, 99) || r.lagging[c].asked != 0 {
		t.Error("it takes what it asks for")
	}
	p.pending = nil
	if caughtUp, _ := r.look(c, now+3*slowPatience); !caughtUp || c.pace != inTime || len(r.lagging) != 0 {
		t.Error("it has not caught up")
	}
	r.hold(c, now)
	if shut = true; r.release(&shut, resume) || len(resumed) > 0 {
		t.Error("it goes on although nothing is taken on")
	}
	if shut = false; r.release(&shut, resume) || len(resumed) != 1 {
		t.Error("it does not go on")
	}
}

// TestBehindByLargeMessages proves that a reader may be behind by eight messages of QoS 0, however
// large they are, but not by more than limits.pending_bytes of small ones, and by none
// while memory is short.
func TestBehindByLargeMessages(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for _, shards := range []int{1, 3} {
			for _, own := range []bool{false, true} { // encoded for the client alone
				for _, tt := range []struct {
					size, n, want int
					pressure      Pressure
				}{
					{1000 << 10, 20, 8, NoPressure},
					{300 << 10, 20, 8, NoPressure},
					{100 << 10, 40, 11, NoPressure}, // 1 MiB and one more
					{1 << 10, 4000, 1018, NoPressure},
					{1000 << 10, 20, 1, SlowPublishers},
				} {
					w := newWorld(t, quietly(shards))
					sub := w.connect(v, clientOn(shards-1, shards, "sub"), func(c *packet.Connect) {
						if own {
							c.Properties.MaximumPacketSize = 2 << 20
							c.Properties.Set(packet.PropMaximumPacketSize)
						}
					})
					sub.subscribe("t", 0)
					pub := w.connect(v, clientOn(0, shards, "pub"))
					w.b.SetPressure(tt.pressure, Memory{Slow: 1 << 40, Full: 1 << 40})
					w.turn()
					sub.deaf = true
					for range tt.n {
						pub.publish("t", string(make([]byte, tt.size)), 0, false)
						if tt.pressure != NoPressure { // a publisher has one packet in a round
							w.b.SetPressure(tt.pressure, Memory{Slow: 1 << 40, Full: 1 << 40})
							w.turn()
						}
					}
					c := w.b.Counters()
					got := tt.n - int(c.DroppedSlow+c.DroppedMemory)
					if got < tt.want || got > tt.want+tt.want/100 || sub.Pending() < got*tt.size || sub.Pending() > got*(tt.size+16) {
						t.Errorf("%v, %d shards, own %v: %d of %d messages of %d bytes wait in %d bytes, want %d", v, shards, own, got, tt.n, tt.size, sub.Pending(), tt.want)
					}
				}
			}
		}
	}
}
