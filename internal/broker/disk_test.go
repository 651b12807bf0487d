package broker

import (
	"errors"
	"fmt"
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

// TestPromisesAreBounded floods a broker whose disk is slow, or full, with cheap packets whose
// answers wait for it. Who does is not read before some are answered, so that little
// is kept for him; he gets all answers in the end. What is kept for those that hang up is
// given up.
func TestPromisesAreBounded(t *testing.T) {
	const n = 20_000
	storms := map[string]func(out []byte, v packet.Version, id packet.ID) []byte{
		"PUBREL": func(out []byte, v packet.Version, id packet.ID) []byte {
			return (&packet.Ack{Type: packet.PUBREL, ID: id}).Append(out, v)
		},
		"UNSUBSCRIBE": func(out []byte, v packet.Version, id packet.ID) []byte {
			return (&packet.Unsubscribe{ID: id, Filters: [][]byte{[]byte("none")}}).Append(out, v)
		},
		"SUBSCRIBE": func(out []byte, v packet.Version, id packet.ID) []byte {
			return (&packet.Subscribe{ID: id, Subscriptions: []packet.Subscription{{Filter: []byte("f")}}}).Append(out, v)
		},
		"PUBLISH": func(out []byte, v packet.Version, id packet.ID) []byte {
			return (&packet.Publish{Topic: []byte("nobody"), QoS: 1, ID: id}).Append(out, v)
		},
	}
	for name, storm := range storms {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			if v == packet.V5 && name == "PUBLISH" {
				continue // its Receive Maximum is enough
			}
			for _, full := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/full %v", name, v, full), func(t *testing.T) {
					floodSlowDisk(t, v, full, n, storm)
				})
			}
		}
	}
}

func floodSlowDisk(t *testing.T, v packet.Version, full bool, n int, storm func([]byte, packet.Version, packet.ID) []byte) {
	w, disk := onStore(t, memstore.New(), time.Now(), false)
	settle := func() {
		for range 3 {
			w.turn()
			disk.Step()
		}
		w.turn()
	}
	come := func(id string, also []byte) *peer {
		c := packet.Connect{Version: v, ClientID: []byte(id)}
		if v == packet.V5 {
			expires(3600)(&c)
		}
		p := w.dial(v)
		p.bytes(append(c.Append(nil), also...))
		return p
	}
	retained := (&packet.Publish{Topic: []byte("r"), Payload: []byte("x"), QoS: 1, ID: 1, Retain: true}).Append(nil, v)
	p := come("flood", nil)
	settle()
	p.next(packet.CONNACK)
	p.bytes(retained)
	w.turn() // its PUBACK waits
	if full {
		disk.Report(errors.New("full"))
		w.b.StoreChanged()
	}
	var b []byte
	for i := range n {
		b = storm(b, v, packet.ID(i+2))
	}
	p.bytes(b)
	promises := &w.b.shards[0].disk.promises
	kept := func() (bytes int) {
		for _, p := range promises.all[promises.next:] {
			bytes += p.bytes()
		}
		return bytes
	}
	if got := kept(); got > maxPromised+2*thenBytes || !p.paused {
		t.Errorf("%d answers with %d bytes wait for the disk, and the client is read on", len(promises.all)-promises.next, got)
	}
	if c := w.b.Counters(); c.PausedDisk != 1 {
		t.Errorf("%d counted, want 1", c.PausedDisk)
	}
	if full {
		for i := range 8 { // hangs up and comes back
			p.hang()
			p = come("flood", b)
			if got := kept(); got > 4*maxPromised {
				t.Fatalf("%d bytes are kept after the client has come back %d times", got, i+1)
			}
		}
		disk.Report(nil)
		w.b.StoreChanged()
		settle()
	}
	for range 200 {
		settle()
	}
	answers := 0
	for first, _, size, _ := packet.Split(p.out, packet.MaxSize); size > 0; first, _, size, _ = packet.Split(p.out, packet.MaxSize) {
		if packet.TypeOf(first) != packet.CONNACK {
			answers++
		}
		p.out = p.out[size:]
	}
	if answers < n || len(p.in) > 0 || p.paused || p.closed {
		t.Errorf("%d answers to %d packets, closed %v", answers, n, p.closed)
	}
	if len(promises.all) > 0 || len(promises.promised) > 0 || promises.closed != 0 {
		t.Errorf("%d promises are left, to %d connections", len(promises.all), len(promises.promised))
	}
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
