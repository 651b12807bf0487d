package bench

import (
	"context"
	"encoding/binary"
	"net"
	"testing"

	"midge/internal/packet"
)

// idleWorker is a worker whose clients count as connected, on no network.
func idleWorker(t testing.TB, s Scenario, v packet.Version) *worker {
	t.Helper()
	s = s.withDefaults()
	p := &plan{Scenario: s, Run: "r", Procs: 1, Version: v}
	p.network.Dial = func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	w, err := newWorker(p, make(chan order), make(chan report, 10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.loop.Shut(); err != nil {
			t.Error(err)
		}
	})
	for i := range w.clients {
		c := &w.clients[i]
		c.stage = ready
		if c.pub != nil {
			c.pub.limit = s.Inflight
		}
	}
	w.connectedAll, w.publishing = true, true
	w.schedule(0)
	w.end = never
	return w
}

// TestNoAllocationPerMessage proves that sending, receiving and acknowledging
// a message allocates nothing, which is what keeps the bench cheaper than the
// brokers that it measures.
func TestNoAllocationPerMessage(t *testing.T) {
	acks := [][]packet.Type{0: {}, 1: {packet.PUBACK}, 2: {packet.PUBREC, packet.PUBCOMP}}
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range 3 {
			s := Default()
			s.Publishers, s.Subscribers, s.QoS, s.Window = 1, 1, qos, 1
			w := idleWorker(t, s, v)
			sub, pub := &w.clients[0], &w.clients[1]
			var wire []byte
			w.pump(0, w.now(), false)
			cycle := func() { // what is received or acknowledged last has the next one sent
				wire = append(wire[:0], pub.conn.Out...)
				sub.conn.Out, pub.conn.Out = sub.conn.Out[:0], pub.conn.Out[:0]
				if len(wire) == 0 {
					t.Fatal("nothing was sent")
				}
				w.Data(&sub.conn, wire)
				id := uint16(pub.lastID)
				for _, ack := range acks[qos] {
					pub.conn.Out = pub.conn.Out[:0] // the PUBREL
					wire = binary.BigEndian.AppendUint16(append(wire[:0], byte(ack)<<4, 2), id)
					w.Data(&pub.conn, wire)
				}
			}
			cycle()
			if n := testing.AllocsPerRun(1000, cycle); n != 0 {
				t.Errorf("%v, QoS %d: %g allocations for each message", v, qos, n)
			}
			if w.out.Faulty.Sum() != 0 || w.received < 1000 {
				t.Errorf("%v, QoS %d: received %d, faults %+v %q", v, qos, w.received, w.out.Faulty, w.out.Details)
			}
		}
	}
}

// BenchmarkMessage is what the bench itself costs for a message, without the
// kernel.
func BenchmarkMessage(b *testing.B) {
	s := Default()
	s.Publishers, s.Subscribers, s.QoS, s.Window, s.Size = 1, 1, 0, 1, 64
	w := idleWorker(b, s, packet.V311)
	sub, pub := &w.clients[0], &w.clients[1]
	var wire []byte
	w.pump(0, w.now(), false)
	b.ReportAllocs()
	for b.Loop() {
		wire = append(wire[:0], pub.conn.Out...)
		pub.conn.Out = pub.conn.Out[:0]
		w.Data(&sub.conn, wire)
	}
	if w.received < uint64(b.N) {
		b.Fatalf("received %d of %d", w.received, b.N)
	}
}
