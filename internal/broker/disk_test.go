package broker

import (
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// durablePublishers begins a broker whose store commits when the test says so,
// with a reader that is away and some publishers.
func durablePublishers(t *testing.T, publishers ...string) (*world, *store.Store, []*peer) {
	t.Helper()
	w, disk := onStore(t, memstore.New(), time.Now(), false)
	settle := func() {
		for range 3 {
			w.turn()
			disk.Step()
		}
		w.turn()
	}
	reader := w.dial(packet.V5)
	c := packet.Connect{Version: packet.V5, ClientID: []byte("reader")}
	expires(3600)(&c)
	s := packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte("t"), QoS: 1}}}
	reader.bytes(s.Append(c.Append(nil), packet.V5))
	settle()
	reader.hang()
	var all []*peer
	for _, id := range publishers {
		p := w.dial(packet.V311)
		p.bytes((&packet.Connect{Version: packet.V311, ClientID: []byte(id), CleanStart: true}).Append(nil))
		settle()
		p.next(packet.CONNACK)
		all = append(all, p)
	}
	return w, disk, all
}

// pubacks takes all PUBACKs that have come, and checks that they are in order.
func (p *peer) pubacks(first packet.ID) (next packet.ID) {
	p.w.t.Helper()
	for body := p.next(packet.PUBACK); body != nil; body = p.next(packet.PUBACK) {
		if id := packet.ID(body[0])<<8 | packet.ID(body[1]); id != first {
			p.w.t.Fatalf("PUBACK %d, want %d", id, first)
		}
		first++
	}
	return first
}

// TestManyPromises lets thousands of PUBACKs wait for the disk, which takes them
// in pieces: each comes, once its message is on disk, and not before.
func TestManyPromises(t *testing.T) {
	w, disk, all := durablePublishers(t, "pub")
	pub := all[0]
	publish := func(from, to packet.ID) {
		var b []byte
		for id := from; id < to; id++ {
			b = (&packet.Publish{Topic: []byte("t"), QoS: 1, ID: id}).Append(b, packet.V311)
		}
		pub.bytes(b)
		w.now += time.Millisecond
	}
	const piece = 2500
	answered := packet.ID(1)
	wants := func(want packet.ID) {
		t.Helper()
		if answered = pub.pubacks(answered); answered != want {
			t.Fatalf("PUBACK to those before %d, want %d", answered, want)
		}
	}
	publish(1, piece)
	for id := packet.ID(piece); id < 20_000; id += piece {
		wants(max(id-piece, 1))
		disk.Step()
		publish(id, id+piece) // some wait already when the others are answered
		wants(id)
	}
	disk.Step()
	publish(0, 0)
	wants(20_000)
}

// TestPublishersWaitForTheDisk fills what may wait for the disk. Publishers of
// what is to be stored go on when the disk has caught up; who publishes to
// nobody isn't held up.
func TestPublishersWaitForTheDisk(t *testing.T) {
	w, disk, all := durablePublishers(t, "pub", "other")
	pub, other := all[0], all[1]
	large := make([]byte, 200<<10)
	var ids packet.ID
	for !disk.Busy() {
		ids++
		pub.bytes((&packet.Publish{Topic: []byte("t"), QoS: 1, ID: ids, Payload: large}).Append(nil, packet.V311))
		w.turn()
	}
	ids++
	pub.bytes((&packet.Publish{Topic: []byte("t"), QoS: 1, ID: ids, Payload: large}).Append(nil, packet.V311))
	if !pub.paused {
		t.Error("the publisher goes on although the disk is busy")
	}
	other.publish("nobody", "x", 1, false)
	if other.next(packet.PUBACK); other.paused {
		t.Error("who publishes to nobody waits for the disk")
	}
	for range 3 {
		disk.Step()
		w.turn()
	}
	if pub.paused {
		t.Error("the publisher is still paused after the disk has caught up")
	}
	if got := pub.pubacks(1); got != ids+1 {
		t.Errorf("PUBACK up to %d, want %d", got, ids+1)
	}
}

// TestIdle proves that a shard which has nothing to do says so: the engine would
// call it again and again.
func TestIdle(t *testing.T) {
	w, disk, all := durablePublishers(t, "pub")
	for range 3 {
		all[0].publish("t", "x", 1, false)
		disk.Step()
		w.turn()
		all[0].next(packet.PUBACK)
		w.now += time.Millisecond
		w.turn()
		for _, s := range w.b.shards {
			if next := s.Turn(w.now); next <= w.now {
				t.Errorf("shard %d has more to do at once", s.index)
			}
		}
	}
}
