package pebblestore_test

import (
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store/pebblestore"
)

// TestPowerCutOpen cuts the power at each change of the disk while a store is
// opened that a crash left, and leaves any part of what was not synced. It is
// no damage, and nothing is lost.
func TestPowerCutOpen(t *testing.T) {
	step := watch(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	base, want := filled(t, true)
	for cut := int64(0); ; cut++ {
		step()
		fs := vfs.NewCrashableMem()
		if _, err := vfs.Clone(base, fs, "", "", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		var n atomic.Int64
		var crash atomic.Pointer[vfs.MemFS]
		cutting := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1)-1 == cut {
				crash.Store(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, uint64(cut)))}))
			}
			return nil
		})
		if err := open(t, "data", small(errorfs.Wrap(fs, cutting))).Close(); err != nil {
			t.Fatal(err)
		}
		if crash.Load() == nil {
			t.Logf("%d cuts", cut)
			return
		}
		s, report, err := pebblestore.Open("data", small(crash.Load()))
		if err != nil {
			t.Fatalf("after cut %d: %v", cut, err)
		}
		if report.Quarantine != "" {
			t.Errorf("after cut %d it was taken for damaged: %+v", cut, report)
		}
		if have, err := load(t, s); err != nil || !maps.Equal(have, want) {
			t.Errorf("after cut %d: %d records, %v; want %d", cut, len(have), err, len(want))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
