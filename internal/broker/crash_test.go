package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/store/memstore"
)

// TestWillAfterCrashNoLocal proves that a will which comes after a crash does not
// come to its own client, if that is back before and has set No Local
// (MQTT-3.8.3-3): the client id counts, not the session.
func TestWillAfterCrashNoLocal(t *testing.T) {
	for _, noLocal := range []bool{false, true} {
		backend := memstore.New()
		w, _ := onStore(t, backend, time.Now(), true)
		w.connect(packet.V5, "c", withWill(0))

		w, _ = onStore(t, backend, time.Now(), true)
		p := w.dial(packet.V5)
		connect := packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}
		subscribe := packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("will"), NoLocal: noLocal}}}
		p.bytes(subscribe.Append(connect.Append(nil), packet.V5)) // before the first turn
		p.next(packet.CONNACK)
		p.next(packet.SUBACK)
		if _, came := p.message(); came == noLocal {
			t.Errorf("No Local %v: the client's will came to it: %v", noLocal, came)
		}
	}
}

// TestWillAcrossCrash ends the broker at each step between the end of a client and its will's
// being with all who get it: those of its own shard, of another one, and of both. A start
// publishes the will again; at QoS 2 it comes once all the same.
func TestWillAcrossCrash(t *testing.T) {
	for _, qos := range []packet.QoS{1, 2} {
		for _, retain := range []bool{false, true} {
			for _, delay := range []uint32{0, 1} {
				for _, readers := range []string{"near", "far", "near, far", "group near", "group far"} {
					for steps := range 6 { // turns and commits after the end
						t.Run(fmt.Sprintf("QoS %d/retain %v/delay %d/%s/%d", qos, retain, delay, readers, steps), func(t *testing.T) {
							willAcrossCrash(t, qos, retain, delay, readers, steps)
						})
					}
				}
			}
		}
	}
}

func willAcrossCrash(t *testing.T, qos packet.QoS, retain bool, delay uint32, readers string, steps int) {
	home := shardOf([]byte(queueID(routing.GroupName{Share: "g", Filter: "will"})), 2)
	cfg := quietly(2)
	backend := memstore.New()
	w, st := onShards(t, backend, cfg, true)
	filter := "will"
	if strings.HasPrefix(readers, "group") {
		filter = "$share/g/will"
	}
	var ids []string
	if strings.Contains(readers, "near") {
		ids = append(ids, clientOn(home, 2, "near"))
	}
	if strings.Contains(readers, "far") {
		ids = append(ids, clientOn(1-home, 2, "far"))
	}
	settle := func() {
		for range 8 {
			w.turn()
			st.Step()
			st.StepReads()
		}
	}
	for _, id := range ids {
		reader, _, _ := w.join(id, expires(3600))
		reader.subscribe(filter, 2)
		settle()
		reader.hang()
	}
	dying := w.connect(packet.V5, clientOn(home, 2, "dying"), expires(3600), func(c *packet.Connect) {
		c.HasWill = true
		c.Will = packet.Will{Topic: []byte("will"), Payload: []byte("gone"), QoS: qos, Retain: retain, Delay: delay}
	})
	settle()

	dying.closed, dying.told = true, true
	w.b.shards[home].Closed(dying, nil)
	if delay > 0 {
		w.b.shards[home].Turn(w.now)
		w.now += time.Duration(delay) * time.Second
	}
	for i := range steps {
		w.b.shards[(home+max(0, i-1))%2].Turn(w.now)
		st.Step()
	}

	w, st = onShards(t, backend, cfg, true) // after a crash
	settle()
	w.now += time.Hour / 2 // the delay begins anew
	settle()
	for _, id := range ids {
		reader, _, _ := w.join(id, expires(3600))
		settle()
		got := 0
		for _, ok := reader.silent(); ok; _, ok = reader.silent() {
			got++
		}
		if got < 1 || qos == 2 && got > 1 {
			t.Errorf("%s got it %d times", id, got)
		}
	}
}

// TestIdentifierOfEndedSession ends the session of a publisher while its QoS 2
// message is on its way to another shard and to the disk. Nothing of it may stay
// on disk.
func TestIdentifierOfEndedSession(t *testing.T) {
	end := map[string]func(w *world, p *peer){
		"DISCONNECT": func(_ *world, p *peer) {
			d := packet.Disconnect{}
			d.Properties.SessionExpiry = 0
			d.Properties.Set(packet.PropSessionExpiry)
			p.in = append(p.in, d.Append(nil, packet.V5)...)
			p.offer()
		},
		"Clean Start": func(w *world, p *peer) {
			again := w.dial(packet.V5)
			again.in = append(again.in, (&packet.Connect{Version: packet.V5, ClientID: []byte("pub"), CleanStart: true}).Append(nil)...)
			again.offer()
			w.exhausted()
			again.offer()
		},
	}
	for name, end := range end {
		for late := range 3 { // turns of the publisher's shard, and commits, before the session ends
			t.Run(fmt.Sprint(name, " ", late), func(t *testing.T) {
				backend := memstore.New()
				w, st := onShards(t, backend, quietly(2), true)
				pub, _, _ := w.join("pub", expires(3600))
				home := shardOf([]byte("pub"), 2)
				sub := "sub"
				for shardOf([]byte(sub), 2) == home {
					sub += "x"
				}
				reader, _, _ := w.join(sub, expires(3600))
				reader.subscribe("t", 2)
				m := packet.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 2, ID: 9}
				pub.in = append(pub.in, m.Append(nil, packet.V5)...)
				pub.offer()
				for range late {
					w.b.shards[home].Turn(w.now)
					st.Step()
				}
				end(w, pub)
				for range 3 { // its end gets on disk before the other shard has the message
					w.b.shards[home].Turn(w.now)
					st.Step()
				}
				for range 4 {
					w.turn()
					st.Step()
				}
				err := backend.Scan([]byte("i"), []byte("j"), func(key, _ []byte) error { return fmt.Errorf("record %q is left", key) })
				if err != nil {
					t.Error(err)
				}
				reader.want("x")
			})
		}
	}
}

// TestHandOverAcrossCrash ends the session of a member of a shared subscription,
// and the broker while the messages that it had are on their way to another
// shard, at each step of that. A start goes on with it: the other member gets all
// of them.
func TestHandOverAcrossCrash(t *testing.T) {
	for _, shared := range []bool{false, true} { // somebody else has had the messages, too
		for steps := 1; steps < 5; steps++ { // turns and commits after the end
			t.Run(fmt.Sprint("shared ", shared, " steps ", steps), func(t *testing.T) {
				handOverAcrossCrash(t, shared, steps)
			})
		}
	}
}

func handOverAcrossCrash(t *testing.T, shared bool, steps int) {
	const share = "$share/g/t"
	home := shardOf([]byte(queueID(routing.GroupName{Share: "g", Filter: "t"})), 2)
	on := func(shard int, id string) string {
		for shardOf([]byte(id), 2) != shard {
			id += "x"
		}
		return id
	}
	backend := memstore.New()
	w, st := onShards(t, backend, quietly(2), true)
	leaver := on(1-home, "leaver")
	a, _, _ := w.join(leaver, expires(3600))
	a.subscribe(share, 1)
	var ear *peer
	if shared {
		ear, _, _ = w.join(on(home, "ear"), expires(3600))
		ear.subscribe("t", 1)
	}
	pub := w.connect(packet.V5, on(home, "pub"))
	for i := range 3 {
		pub.publish("t", fmt.Sprint(i), 1, false)
		if shared {
			ear.want(fmt.Sprint(i))
		}
	}
	other, _, _ := w.join(on(home, "other"), expires(3600))
	other.subscribe(share, 1)
	a.hang()
	other.hang()
	for range 4 {
		w.turn()
		st.Step()
	}

	again := w.dial(packet.V5)
	again.in = append(again.in, (&packet.Connect{Version: packet.V5, ClientID: []byte(leaver), CleanStart: true}).Append(nil)...)
	again.offer()
	for i := range steps {
		w.b.shards[(1-home+i)%2].Turn(w.now)
		st.Step()
	}

	w, st = onShards(t, backend, quietly(2), true) // after a crash
	for range 8 {
		w.turn()
		st.Step()
		st.StepReads()
	}
	other, _, _ = w.join(on(home, "other"), expires(3600))
	got := map[string]bool{}
	for range 20 {
		for m, ok := other.message(); ok; m, ok = other.message() {
			got[string(m.Payload)] = true
		}
		w.turn()
		st.Step()
		st.StepReads()
	}
	if len(got) != 3 {
		t.Errorf("the other member got %v, want three messages", got)
	}
}

// TestLateKeyAcrossCrash gives a QoS 2 message to a member of a shared subscription whose
// session is in memory, and then to one that is stored, or to the group's queue,
// while the turn of its publisher waits for another shard. The broker ends at each step of that. The
// publisher sends it again, and it comes once.
func TestLateKeyAcrossCrash(t *testing.T) {
	for _, granted := range []packet.QoS{1, 2} { // at QoS 1 it has been sent, at QoS 2 it waits in the session
		for _, away := range []bool{false, true} { // to the queue
			for _, end := range []string{"hangs up", "unsubscribes"} {
				if end == "unsubscribes" && granted == 1 {
					continue // it keeps what was sent
				}
				for steps := range 6 { // turns and commits after the end
					t.Run(fmt.Sprintf("QoS %d/away %v/%s/%d", granted, away, end, steps), func(t *testing.T) {
						lateKeyAcrossCrash(t, granted, away, end, steps)
					})
				}
			}
		}
	}
}

func lateKeyAcrossCrash(t *testing.T, granted packet.QoS, away bool, end string, steps int) {
	const share = "$share/g/t"
	home := shardOf([]byte(queueID(routing.GroupName{Share: "g", Filter: "t"})), 2)
	cfg := quietly(2, func(c *setup) { c.Limits.PendingBytes = 1000 })
	backend := memstore.New()
	w, st := onShards(t, backend, cfg, true)
	pub, _, _ := w.join(clientOn(home, 2, "pub"), expires(3600))
	ear, _, _ := w.join(clientOn(1-home, 2, "ear"), expires(3600)) // for whom the publisher's turn waits
	ear.subscribe("t", 2)
	inMemory := w.connect(packet.V5, clientOn(home, 2, "memory"))
	inMemory.subscribe(share, granted)
	inMemory.subscribe("large", 0)
	stored := clientOn(home, 2, "stored")
	other, _, _ := w.join(stored, expires(3600))
	other.subscribe(share, 2)
	if away {
		other.hang()
	}
	if granted == 2 {
		inMemory.deaf = true
		pub.publish("large", string(make([]byte, 2000)), 0, false)
	}
	for range 4 {
		w.turn()
		st.Step()
	}

	m := packet.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 2, ID: 9}
	pub.offerOnly(m.Append(nil, packet.V5))
	w.b.shards[home].Turn(w.now)
	st.Step()
	if cl := w.b.shards[home].clients.Get(string(clientOn(home, 2, "memory"))); cl.session.Queued()+cl.session.Inflight() != 1 {
		t.Fatal("the message is not with the member whose session is in memory")
	}
	if end == "hangs up" {
		inMemory.closed, inMemory.told = true, true
		w.b.shards[home].Closed(inMemory, nil)
	} else {
		inMemory.offerOnly((&packet.Unsubscribe{ID: 5, Filters: [][]byte{[]byte(share)}}).Append(nil, packet.V5))
	}
	for i := range steps {
		w.b.shards[(home+max(0, i-2))%2].Turn(w.now) // the other shard comes last
		st.Step()
	}

	w, st = onShards(t, backend, cfg, true) // after a crash
	settle := func() {
		for range 8 {
			w.turn()
			st.Step()
			st.StepReads()
		}
	}
	settle()
	pub, _, _ = w.join(clientOn(home, 2, "pub"), expires(3600))
	m.Dup = true
	pub.bytes(m.Append(nil, packet.V5))
	settle()
	if pub.next(packet.PUBREC) == nil {
		t.Error("no PUBREC")
	}
	other, _, _ = w.join(stored, expires(3600))
	settle()
	got := 0
	for _, ok := other.silent(); ok; _, ok = other.silent() {
		got++
	}
	if got != 1 {
		t.Errorf("the member whose session is stored got it %d times", got)
	}
}
