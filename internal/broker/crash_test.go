package broker

import (
	"fmt"
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
