package tlslayer

import (
	"testing"
	"time"

	"midge/internal/engine"
	"midge/internal/tlsrecord"
)

// TestCool has connections fall silent one by one: each drops its ciphers when it was
// silent for one to two times coolAfter, and then the shard wants no turn any more.
func TestCool(t *testing.T) {
	s := &shard{}
	var all []*compact
	for i := range 3 {
		k := &compact{tls: &tlsrecord.Conn{}, recent: true, warm: int32(i + 1)}
		all = append(all, k)
		s.warm = append(s.warm, k)
	}
	warm := func(want int, next, got time.Duration) {
		t.Helper()
		if len(s.warm) != want || got != next {
			t.Errorf("%d are warm, the next turn is at %v; want %d, %v", len(s.warm), got, want, next)
		}
		for i, k := range s.warm {
			if int(k.warm) != i+1 {
				t.Errorf("number %d has the index %d", i, k.warm)
			}
		}
	}
	warm(3, coolAfter, s.turn(coolAfter/2))
	warm(3, 2*coolAfter, s.turn(coolAfter))
	all[1].recent = true // a record
	warm(1, 3*coolAfter, s.turn(2*coolAfter))
	if all[0].warm != 0 || all[2].warm != 0 || all[1].warm != 1 {
		t.Error("others are warm than had records")
	}
	all[1].recent = true
	warm(1, 4*coolAfter, s.turn(3*coolAfter))
	s.cool(all[1]) // it moves or ends
	warm(0, engine.Never, s.turn(3*coolAfter))
	s.cool(all[1])
}
