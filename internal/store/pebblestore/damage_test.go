package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// filled is a store with tables at several levels and a log, closed in order
// or as a crash leaves it, and what it holds.
func filled(t *testing.T, crash bool) (*vfs.MemFS, map[string]string) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := open(t, "data", small(fs))
	r := rand.New(rand.NewPCG(7, 7)) // always the same: damage is at places
	want := map[string]string{}
	var c store.Changes
	for i := range 6000 {
		c.Reset()
		key := fmt.Sprintf("key %05d", r.IntN(4000))
		value := fmt.Sprintf("%d %s", i, bytes.Repeat([]byte{byte('a' + r.IntN(26))}, 100+r.IntN(200)))
		c.Set([]byte(key), []byte(value))
		want[key] = value
		gone := fmt.Sprintf("key %05d", r.IntN(4000))
		c.Delete([]byte(gone))
		delete(want, gone)
		if i%500 == 0 {
			from := r.IntN(4000)
			c.DeleteRange(fmt.Appendf(nil, "key %05d", from), fmt.Appendf(nil, "key %05d", from+20))
			for k := from; k < from+20; k++ {
				delete(want, fmt.Sprintf("key %05d", k))
			}
		}
		if err := s.Commit(i%50 == 0 || i == 5999, &c); err != nil {
			t.Fatal(err)
		}
	}
	if crash {
		return fs.CrashClone(vfs.CrashCloneCfg{}), want
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, want
}

func clone(t *testing.T, fs vfs.FS) *vfs.MemFS {
	t.Helper()
	c := vfs.NewMem()
	if ok, err := vfs.Clone(fs, c, "", ""); err != nil || !ok {
		t.Fatalf("clone: %v, %v", ok, err)
	}
	return c
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *pebblestore.Store) (map[string]string, error) {
	t.Helper()
	have := map[string]string{}
	err := s.Scan(nil, []byte{0xff}, func(k, v []byte) error {
		have[string(k)] = string(v)
		return nil
	})
	return have, err
}

// TestDamage damages each file in each way. The start succeeds, with a
// salvage if there is damage to be seen; and what is not in the damaged part
// is there.
func TestDamage(t *testing.T) {
	for _, crash := range []bool{false, true} {
		fs, want := filled(t, crash)
		names, err := fs.List("data/db")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name == "" { // of the directory itself, after CrashClone
				continue
			}
			size := len(read(t, fs, "data/db/"+name))
			damages := map[string]func(b []byte) []byte{
				"delete":   func([]byte) []byte { return nil },
				"truncate": func(b []byte) []byte { return b[:len(b)/2] },
				"empty":    func(b []byte) []byte { return b[:0] },
			}
			for _, part := range []int{0, 1, 2, 3, 4} {
				damages[fmt.Sprintf("flip at %d of 4", part)] = func(b []byte) []byte {
					at := min(part*len(b)/4, len(b)-1)
					b[at] ^= 0x40
					return b
				}
			}
			for kind, damage := range damages {
				if size == 0 && kind != "delete" {
					continue
				}
				t.Run(fmt.Sprintf("crash %v/%s/%s", crash, name, kind), func(t *testing.T) {
					watch(t)
					fs := clone(t, fs)
					path := "data/db/" + name
					if b := damage(read(t, fs, path)); b == nil {
						if err := fs.Remove(path); err != nil {
							t.Fatal(err)
						}
					} else {
						write(t, fs, path, b)
					}
					damaged(t, fs, name, kind, size, want, crash)
				})
			}
		}
	}
}

// TestManyDamagedBlocks damages a byte in every eighth of a table. What is lost
// is what those blocks held.
func TestManyDamagedBlocks(t *testing.T) {
	const records, flips, perBlock = 4000, 8, 8192 / 220 // bytes, of blocks and of records
	fs := vfs.NewMem()
	s := open(t, "data", small(fs))
	r := rand.New(rand.NewPCG(9, 9)) // always the same: damage is at places
	want := map[string]string{}
	var c store.Changes
	for i := range records {
		value := make([]byte, 210)
		for at := range value {
			value[at] = byte(r.Uint32()) // so that it doesn't get smaller
		}
		key := fmt.Sprintf("key %06d", i)
		want[key] = string(value)
		c.Set([]byte(key), value)
	}
	if err := s.Commit(true, &c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, "data", small(fs)).Close() // writes the log to a table
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, name := range names {
		b := read(t, fs, "data/db/"+name)
		if !strings.HasSuffix(name, ".sst") || len(b) < 100_000 {
			continue
		}
		tables++
		for i := range flips { // of the data, which takes all but the end
			b[100+i*len(b)/flips] ^= 0x40
		}
		write(t, fs, "data/db/"+name, b)
	}
	o := small(fs)
	o.Salvage = true
	s, report, err := pebblestore.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	have, err := load(t, s)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range have {
		if want[key] != value {
			t.Errorf("%s is not what was written", key)
		}
	}
	lost := records - len(have)
	if most := tables * flips * (perBlock + 1); tables == 0 || lost == 0 || lost > most {
		t.Errorf("%d of %d records lost of %d tables, want 1 to %d: %+v", lost, records, tables, most, report)
	}
}

// damaged opens a damaged store as the broker does, and judges what is there.
func damaged(t *testing.T, fs *vfs.MemFS, name, kind string, size int, want map[string]string, crash bool) {
	o := small(fs)
	s, report, err := pebblestore.Open("data", o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	have, err := load(t, s)
	if err != nil {
		if !errors.Is(err, pebblestore.ErrCorrupt) {
			t.Fatalf("scan: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Logf("close: %v", err)
		}
		o.Salvage = true
		if s, report, err = pebblestore.Open("data", o); err != nil {
			t.Fatalf("open to salvage: %v", err)
		}
		if have, err = load(t, s); err != nil {
			t.Fatalf("scan after the salvage: %v", err)
		}
	}
	missing, stale := 0, 0
	for k, v := range want {
		got, there := have[k]
		switch {
		case !there:
			missing++
		case got != v:
			stale++
		}
	}
	back := len(have) - (len(want) - missing)
	table, log := strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".log")
	if !table && !log && missing+stale+back > 0 {
		t.Errorf("%d records lost, %d stale, %d back", missing, stale, back)
	}
	if report.Quarantine == "" {
		// A log may end anywhere after a crash; that includes the damage of
		// its last record. Other files are replaced at the start.
		if missing+stale+back > 0 && !log {
			t.Errorf("no quarantine, but %d records lost, %d stale, %d back", missing, stale, back)
		}
		if table && !crash { // all of them are live
			t.Error("no quarantine")
		}
	} else {
		if _, err := fs.Stat(report.Quarantine); err != nil {
			t.Error(err)
		}
		if len(report.Damage) == 0 {
			t.Error("the report names no damage")
		}
		if missing > 0 && report.LostBytes == 0 && kind != "delete" {
			t.Errorf("%d records lost, and the report says 0 bytes: %+v", missing, report)
		}
	}
	if testing.Verbose() && missing+stale+back > 0 {
		t.Logf("%d of %d bytes: %d records lost, %d stale, %d back; %+v", report.LostBytes, size, missing, stale, back, report.Damage)
	}
	// The store works, and stays as it is.
	c := &store.Changes{}
	c.Set([]byte("new"), []byte("record"))
	if err := s.Commit(true, c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, "data", small(fs))
	defer s.Close()
	again, err := load(t, s)
	if err != nil || len(again) != len(have)+1 {
		t.Errorf("%d records after another start, %v; want %d", len(again), err, len(have)+1)
	}
}
