package pebblestore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// unreadable is a store with records that nobody can read, and those.
func unreadable(t *testing.T) (*vfs.MemFS, map[string]string) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := open(t, "data", small(fs))
	bad := map[string]string{"s12345678": "\xff", "r12345678": "\xff\x00", "ttopic": "\xff\x01"}
	for key, value := range bad {
		var c store.Changes
		c.Set([]byte(key), []byte(value))
		if err := s.Commit(true, &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, bad
}

// begin opens a store and loads it, as a broker does.
func begin(t *testing.T, o pebblestore.Options) (s *pebblestore.Store, damaged int) {
	t.Helper()
	s = open(t, "data", o)
	lost, err := store.New(s, store.Config{Shards: 2}).Load(&heard{})
	if err != nil {
		t.Fatal(err)
	}
	return s, len(lost)
}

// copies are the records that were quarantined. What a crash left of a line does
// not count.
func copies(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := fs.List("data")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file := "data/" + name + "/records.jsonl"
		if _, err := fs.Stat(file); err != nil || !strings.HasPrefix(name, "quarantine-") {
			continue
		}
		for line := range bytes.Lines(read(t, fs, file)) {
			var r struct {
				Key, Value []byte
				Error      string
			}
			if err := json.Unmarshal(line, &r); err == nil && r.Error != "" {
				all[string(r.Key)] = string(r.Value)
			}
		}
	}
	return all
}

// TestSetAsideCut cuts the power at each change of the disk while a start sets
// damaged records aside and removes them, and when it is done. Each record is
// there, or its copy is; and after the next start the copies of all are.
func TestSetAsideCut(t *testing.T) {
	step := watch(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	base, bad := unreadable(t)
	parts := []int{0, 50} // of what was not synced, in percent
	for cut := int64(0); ; cut++ {
		step()
		fs := vfs.NewCrashableMem()
		if _, err := vfs.Clone(base, fs, "", "", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		crash := func() (crashes []*vfs.MemFS) {
			for _, part := range parts {
				luck := rand.New(rand.NewPCG(seed, uint64(cut)))
				crashes = append(crashes, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: part, RNG: luck}))
			}
			return crashes
		}
		var n atomic.Int64
		var crashes atomic.Pointer[[]*vfs.MemFS]
		cutting := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1)-1 == cut {
				all := crash()
				crashes.Store(&all)
			}
			return nil
		})
		s, damaged := begin(t, small(errorfs.Wrap(fs, cutting)))
		if damaged != len(bad) {
			t.Fatalf("%d records were damaged, want %d", damaged, len(bad))
		}
		loaded := crash()
		if err := s.Close(); err != nil { // no cut comes after it, also in the background
			t.Fatal(err)
		}
		done := crashes.Load() == nil
		if done {
			crashes.Store(&loaded)
		}
		for i, after := range *crashes.Load() {
			where := fmt.Sprintf("after cut %d, with %d %% of what was not synced", cut, parts[i])
			there := copies(t, after)
			s, _, err := pebblestore.Open("data", small(after))
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			left, err := load(t, s)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			if done && len(left) > 0 {
				t.Fatalf("%s: %d records are left when all is done", where, len(left))
			}
			for key, value := range bad {
				if left[key] != value && there[key] != value {
					t.Fatalf("%s: %d records and %d copies, and %.20q is in neither", where, len(left), len(there), key)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, damaged := begin(t, small(after))
			if damaged != len(left) {
				t.Errorf("%s: %d damaged records, want %d", where, damaged, len(left))
			}
			if got := copies(t, after); !maps.Equal(got, bad) {
				t.Fatalf("%s: %d copies after the next start, want %d", where, len(got), len(bad))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if done {
			t.Logf("%d cuts", cut)
			return
		}
	}
}

// TestSetAside sets records aside twice in the same second. Both copies are
// kept, and the log says where.
func TestSetAside(t *testing.T) {
	watch(t)
	fs := vfs.NewMem()
	var log strings.Builder
	o := pebblestore.At(small(fs), time.Date(2026, 11, 21, 12, 0, 5, 0, time.FixedZone("", 3600)))
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, "data", o)
	for i, name := range []string{"data/quarantine-20261121T110005Z/records.jsonl", "data/quarantine-20261121T110005Z-2/records.jsonl"} {
		log.Reset()
		value := []byte{0xff, byte(i)}
		if err := s.Quarantine([]store.Damaged{{Key: []byte("key"), Value: value, Err: errors.New("no way")}}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("{\"Key\":\"a2V5\",\"Value\":%q,\"Error\":\"no way\"}\n", []string{"/wA=", "/wE="}[i])
		if got := string(read(t, fs, name)); got != want {
			t.Errorf("%s holds %s, want %s", name, got, want)
		}
		if said := "level=ERROR msg=\"damaged records were quarantined: what they held is lost to the broker\" records=1 file=" + name; !strings.Contains(log.String(), said) {
			t.Errorf("no %q in the log\n%s", said, log.String())
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Quarantine(nil); !errors.Is(err, pebblestore.ErrClosed) {
		t.Errorf("quarantine in a closed store: %v", err)
	}
}
