package session

import (
	"math/rand/v2"
	"testing"

	"midge/internal/packet"
)

// TestFind acknowledges in any order, and some late, over the end of the packet
// identifiers: each acknowledgement ends the exchange that it is for, and no other.
func TestFind(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	cfg := testConfig()
	cfg.MaxInflight = 40
	s := online(cfg, packet.V5, 40)
	s.need()
	s.inflight.issued = 65_535 - 3_000
	open := map[packet.ID]bool{}
	for range 100_000 {
		id := packet.ID(1 + r.IntN(65_535))
		if r.IntN(2) == 0 && len(open) < 40 {
			s.deliver(t, 1, "a", Sent)
			open[s.inflight.list[len(s.inflight.list)-1].id] = true
		} else if r.IntN(4) > 0 && len(open) > 0 {
			late := r.IntN(8) > 0 // the oldest few stay for long
			for id = range open {
				if !late || int(id)%64 > 2 {
					break
				}
			}
		}
		e := s.inflight.find(id)
		if (e != nil) != open[id] || e != nil && e.id != id {
			t.Fatalf("find(%d) = %+v; under way: %v", id, e, open)
		}
		if e != nil && r.IntN(4) > 0 {
			if _, err := s.Ack(nil, ack(packet.PUBACK, id, 0)); err != nil {
				t.Fatal(err)
			}
			delete(open, id)
		}
		if s.Inflight() != len(open) {
			t.Fatalf("%d under way after PUBACK %d, want %d", s.Inflight(), id, len(open))
		}
	}
	if s.inflight.issued < 65_535 {
		t.Errorf("only %d identifiers given out", s.inflight.issued)
	}
}
