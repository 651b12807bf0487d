package broker

import (
	"testing"

	"midge/internal/packet"
)

// TestPromises keeps promises in their order, each when its turn is committed, and
// counts acknowledgements by connection.
func TestPromises(t *testing.T) {
	var q promises
	q.init()
	a, b := &conn{}, &conn{}
	const n = 5000
	for i := range n {
		p := promise{turn: uint64(i/2 + 1), c: a, id: packet.ID(i)}
		if i%2 == 1 {
			p.c, p.then = b, func() {}
		}
		q.add(p)
	}
	if !q.acknowledges(a) || q.acknowledges(b) {
		t.Error("a waits for acknowledgements, b does not")
	}
	for i := range n {
		if q.due(uint64(i / 2)) {
			t.Fatalf("%d is due before its turn is committed", i)
		}
		if !q.due(uint64(i/2 + 1)) {
			t.Fatalf("%d is not due", i)
		}
		if p, _ := q.take(); p.id != packet.ID(i) {
			t.Fatalf("got %d, want %d", p.id, i)
		}
		if len(q.all)-q.next != n-1-i || q.next > len(q.all)/2+1025 {
			t.Fatalf("after %d: %d places, %d of them free", i, len(q.all), q.next)
		}
	}
	if !q.empty() || q.acknowledges(a) || len(q.promised) != 0 {
		t.Error("something is left")
	}
	q.add(promise{c: a})
	if all := q.takeAll(); len(all) != 1 || all[0].c != a || !q.empty() || q.acknowledges(a) {
		t.Error("takeAll left something")
	}
}
