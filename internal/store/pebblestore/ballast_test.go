package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// partition is a file system in memory with so much room and no more. A power
// cut may bring back what was removed, but then its room was not given to
// another file yet: file systems keep that order.
type partition struct {
	*vfs.MemFS
	size  int64
	other int64 // bytes that are in use by others
	mu    *sync.Mutex
	back  *int64 // bytes of what a power cut may bring back, at most
}

func newPartition(fs *vfs.MemFS, size int64) partition {
	return partition{fs, size, 0, new(sync.Mutex), new(int64)}
}

// full is the partition after others have taken all the room that was left.
func (p partition) full() partition {
	p.other = p.size - p.used("data")
	return p
}

// cut is the partition after a power cut.
func (p partition) cut(cfg vfs.CrashCloneCfg) partition {
	after := newPartition(p.CrashClone(cfg), p.size)
	after.other = p.other
	return after
}

// left is the room that is available.
func (p partition) left() int64 { return p.size - p.other - p.used("data") }

func (p partition) used(dir string) (bytes int64) {
	names, _ := p.List(dir)
	for _, name := range names {
		name = p.PathJoin(dir, name)
		switch info, err := p.MemFS.Stat(name); {
		case err != nil: // removed meanwhile
		case info.IsDir():
			bytes += p.used(name)
		default:
			bytes += info.Size()
		}
	}
	return bytes
}

func (p partition) GetDiskUsage(string) (vfs.DiskUsage, error) {
	left := uint64(max(p.left(), 0))
	return vfs.DiskUsage{TotalBytes: uint64(p.size), UsedBytes: uint64(p.size) - left, AvailBytes: left}, nil
}

func (p partition) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.MemFS.Create(name, c)
	return bounded{f, p, name}, err
}

// remove removes the name of a file.
func (p partition) remove(name string, do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if info, err := p.MemFS.Stat(name); err == nil {
		*p.back += info.Size()
	}
	return do()
}

func (p partition) Remove(name string) error {
	return p.remove(name, func() error { return p.MemFS.Remove(name) })
}

func (p partition) Rename(from, to string) error {
	return p.remove(from, func() error { return p.MemFS.Rename(from, to) })
}

// commit makes all removals last.
func (p partition) commit(dir string) error {
	names, err := p.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		name = p.PathJoin(dir, name)
		if info, err := p.MemFS.Stat(name); err == nil && info.IsDir() {
			if err := p.commit(name); err != nil {
				return err
			}
		}
	}
	d, err := p.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (p partition) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := p.remove(from, func() error { return nil }); err != nil {
		return nil, err
	}
	f, err := p.MemFS.ReuseForWrite(from, to, c)
	return bounded{f, p, to}, err
}

func (p partition) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.MemFS.OpenReadWrite(name, c, opts...)
	return bounded{f, p, name}, err
}

// bounded is a file on it.
type bounded struct {
	vfs.File
	p    partition
	name string
}

func (f bounded) take(bytes int64, write func() (int, error)) (int, error) {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	left := f.p.left() - bytes
	if left >= 0 && left < *f.p.back {
		if err := f.p.commit("data"); err != nil {
			return 0, err
		}
		*f.p.back = 0
	}
	if left < 0 {
		return 0, &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return write()
}

func (f bounded) Write(b []byte) (int, error) {
	return f.take(int64(len(b)), func() (int, error) { return f.File.Write(b) })
}

func (f bounded) WriteAt(b []byte, at int64) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return f.take(max(at+int64(len(b))-info.Size(), 0), func() (int, error) { return f.File.WriteAt(b, at) })
}

// ballastIn is the number of files of the ballast.
func ballastIn(t *testing.T, fs vfs.FS) (n int) {
	names, err := fs.List("data")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "ballast-") {
			n++
		}
	}
	return n
}

// chosenSeed is MIDGE_SEED, or one of chance. A test that fails says how to try
// it again.
func chosenSeed(t *testing.T) uint64 {
	seed := rand.Uint64()
	if text := os.Getenv("MIDGE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("MIDGE_SEED: %v", err)
		}
	}
	t.Logf("to try again: MIDGE_SEED=%d go test ./internal/store/pebblestore -run '^%s$'", seed, t.Name())
	return seed
}

// ballastRounds is MIDGE_ROUNDS, or few.
func ballastRounds(t *testing.T, few int) int {
	text := os.Getenv("MIDGE_ROUNDS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("MIDGE_ROUNDS: %v", err)
	}
	return n
}

// TestBallast fills a small partition with records, and removes them all again:
// the ballast makes room for that, and is made again. The power fails at a moment
// of chance meanwhile, or does not; after the next start it is the same.
func TestBallast(t *testing.T) {
	step := watch(t)
	seed := chosenSeed(t)
	for round := range ballastRounds(t, 12) {
		step()
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		fs := vfs.NewCrashableMem()
		told := make(chan error, 1000)
		options := func(fs *vfs.MemFS) pebblestore.Options {
			o := pebblestore.Quick(small(newPartition(fs, 8<<20)))
			o.Trouble = func(err error) { told <- err }
			o.MemTableBytes = 0 // as the partition allows
			return o
		}
		s := open(t, "data", options(fs))
		var keys [][]byte
		for full := false; !full; {
			value := make([]byte, 20_000)
			for i := range value {
				value[i] = byte(r.Uint32())
			}
			key := fmt.Appendf(nil, "key %06d", len(keys))
			var c store.Changes
			c.Set(key, value)
			if err := s.Commit(true, &c); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
			select {
			case err := <-told:
				if full = true; !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("told %v", err)
				}
			default:
			}
		}
		crash := -1
		if round%2 == 1 {
			crash = r.IntN(len(keys))
		}
		for i, key := range keys {
			step()
			if i == crash {
				next := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
				for len(told) > 0 {
					<-told
				}
				go s.Close() // its disk is gone
				fs = next
				if left := newPartition(fs, 8<<20).left(); left < 0 {
					t.Fatalf("the power cut left %d bytes too much on the partition", -left)
				}
				o := options(fs)
				here := make(chan error, 1000)
				o.Trouble = func(err error) { here <- err }
				told = here
				s = open(t, "data", o)
			}
			var c store.Changes
			c.Delete(key)
			if err := s.Commit(true, &c); err != nil {
				t.Fatal(err)
			}
		}
		// All is well when the partition takes as much again. The broker gives it
		// nothing new while it is told that there is no room.
		full := crash < 0
		room := func() {
			for full || len(told) > 0 {
				full = <-told != nil
			}
		}
		for range len(keys) / 2 {
			room()
			var c store.Changes
			c.Set([]byte("again"), make([]byte, 20_000))
			if err := s.Commit(true, &c); err != nil {
				t.Fatal(err)
			}
		}
		if room(); crash < 0 {
			if n := ballastIn(t, fs); n != 4 {
				t.Errorf("%d files of the ballast, want 4", n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, "data", options(fs))
		if have, err := load(t, s); err != nil || len(have) != 1 {
			t.Errorf("%d records, want 1, %v", len(have), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBallastInVain lets a disk stay full although the ballast was given up, at
// each of its operations: the store waits, keeps the first piece for a start, and
// goes on when there is room.
func TestBallastInVain(t *testing.T) {
	step := watch(t)
	for left := int64(0); left < 60; left += 3 {
		step()
		fs := vfs.NewCrashableMem()
		room := &room{}
		room.left.Store(1 << 40)
		o := pebblestore.Ballast(pebblestore.Quick(small(errorfs.Wrap(fs, errorfs.InjectorFunc(room.take)))), 64<<10)
		told := make(chan error, 1000)
		o.Trouble = func(err error) { told <- err }
		if err := open(t, "data", o).Close(); err != nil {
			t.Fatal(err)
		}
		s := open(t, "data", o)
		for ballastIn(t, fs) < 4 {
			if err := s.Commit(true); err != nil {
				t.Fatal(err)
			}
		}
		room.left.Store(left)
		w := newWorkload(uint64(left))
		done := make(chan error, 1)
		stop := make(chan struct{})
		go func() {
			for {
				if err := w.commit(s, true); err != nil {
					done <- err
					return
				}
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
			}
		}()
		if err := <-told; !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("told %v", err)
		}
		for ballastIn(t, fs) > 1 {
			select {
			case err := <-done:
				t.Fatalf("the commits ended: %v", err)
			default:
			}
		}
		room.left.Store(1 << 40)
		close(stop)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := <-told; err != nil {
			t.Fatalf("told %v when there was room", err)
		}
		if n := ballastIn(t, fs); n != 4 {
			t.Errorf("%d files of the ballast, want 4", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoRoomForBallast opens a store where there is room for no ballast, which
// is said once, and nothing else.
func TestNoRoomForBallast(t *testing.T) {
	watch(t)
	var log syncedLog
	o := pebblestore.Ballast(small(newPartition(vfs.NewCrashableMem(), 2<<20)), 2<<20)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, "data", o)
	for !strings.Contains(log.String(), "no space for the ballast") {
		if err := s.Commit(true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("the log says\n%s", log.String())
	}
}

type syncedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *syncedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *syncedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestRefusedOpen opens a store where the operating system refuses to write. The
// error says it, and the log does not say that a store has failed.
func TestRefusedOpen(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.EROFS} {
		step := watch(t)
		for n := 0; ; n++ {
			step()
			op := 0
			hit := false
			inject := errorfs.InjectorFunc(func(o errorfs.Op) error {
				if o.Kind != errorfs.OpCreate && o.Kind != errorfs.OpMkdirAll && o.Kind != errorfs.OpRename {
					return nil
				}
				if op++; op <= n {
					return nil
				}
				hit = true
				return &os.PathError{Op: "create", Path: o.Path, Err: errno}
			})
			var log syncedLog
			o := small(errorfs.Wrap(vfs.NewCrashableMem(), inject))
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			s, _, err := pebblestore.Open("data", o)
			if err == nil {
				s.Close() // what fails now is not what this is about
				if !hit {
					break
				}
				continue
			}
			if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "open the store in data: ") {
				t.Errorf("operation %d: %v", n, err)
			}
			if log.String() != "" {
				t.Errorf("operation %d: the log says %s", n, log.String())
			}
		}
	}
}

// TestStartOnFullPartition fills a partition until the commits wait, with the
// piece for a start left of the ballast. The power fails then, others take what
// is left to the last byte, and the power fails again, at moments of chance
// while the store starts. The last start ends by itself, with everything that
// was committed, and everything can be removed.
func TestStartOnFullPartition(t *testing.T) {
	step := watch(t)
	seed := chosenSeed(t)
	for round := range ballastRounds(t, 3) {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		full, n := fullPartition(t, r, step)
		for try := range 8 {
			step()
			p := full.cut(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: r})
			for range r.IntN(6) {
				p = cutStart(t, p, r)
			}
			if left := p.left(); left < 0 {
				t.Fatalf("round %d: the power cuts left %d bytes too much on the partition", round, -left)
			}
			o := pebblestore.Quick(small(p))
			o.MemTableBytes = 0
			s := open(t, "data", o)
			have, err := load(t, s)
			if err != nil || len(have) < n {
				t.Fatalf("round %d: %d records after the start, want %d, %v", round, len(have), n, err)
			}
			if try > 0 {
				go s.Close() // has nothing to show, and may wait
				continue
			}
			for _, key := range slices.Sorted(maps.Keys(have)) {
				step()
				var c store.Changes
				c.Delete([]byte(key))
				if err := s.Commit(true, &c); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) { // the room may come after this
				t.Fatal(err)
			}
			s = open(t, "data", o)
			if have, err := load(t, s); err != nil || len(have) != 0 {
				t.Errorf("round %d: %d records, want none, %v", round, len(have), err)
			}
			if err := s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
		}
	}
}

// fullPartition is a partition as a power cut leaves it while commits wait for
// room, with no byte left, and how many of them were done. Records are small,
// or so large that a commit has a table for itself, or anything between.
func fullPartition(t *testing.T, r *rand.Rand, step func()) (after partition, done int) {
	fs := vfs.NewCrashableMem()
	p := newPartition(fs, 8<<20)
	o := pebblestore.Quick(small(p))
	o.MemTableBytes = 0
	var told atomic.Bool
	o.Trouble = func(err error) { told.Store(err != nil) }
	s := open(t, "data", o)
	for ballastIn(t, fs) < 4 {
		time.Sleep(time.Millisecond)
	}
	var acked atomic.Int64
	sizes := []int{100, 1000, 10_000, int(s.Backlog())}
	least := r.IntN(len(sizes) - 1)
	value := make([]byte, sizes[least]+r.IntN(sizes[least+1]-sizes[least]))
	for i := range value {
		value[i] = byte(r.Uint32())
	}
	go func() {
		for i := 0; ; i++ {
			v := bytes.Clone(value)
			for j := range v { // compresses to nothing less
				v[j] ^= byte(rand.Uint32())
			}
			var c store.Changes
			c.Set(fmt.Appendf(nil, "key %06d", i), v)
			if s.Commit(true, &c) != nil {
				return
			}
			acked.Add(1)
		}
	}()
	for waited, before := 0, int64(-1); waited < 30; time.Sleep(time.Millisecond) {
		if now := acked.Load(); now != before || !told.Load() || ballastIn(t, fs) != 1 {
			if now != before {
				step()
			}
			waited, before = 0, now
			continue
		}
		waited++
	}
	done = int(acked.Load())
	after = p.cut(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
	go s.Close() // its disk is gone
	return after.full(), done
}

// cutStart cuts the power at a change of the disk during a start, or right after
// it.
func cutStart(t *testing.T, p partition, r *rand.Rand) partition {
	cut, percent, once := int64(r.IntN(60)), r.IntN(101), rand.New(rand.NewPCG(r.Uint64(), 0))
	var n atomic.Int64
	crash := sync.OnceValue(func() partition {
		return p.cut(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: once})
	})
	cutting := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1)-1 == cut {
			crash()
		}
		return nil
	})
	o := pebblestore.Quick(small(errorfs.Wrap(p, cutting)))
	o.MemTableBytes = 0
	s := open(t, "data", o)
	defer func() { go s.Close() }() // its disk is gone
	return crash()
}

// TestCloseWhileCompacting closes a store on a full partition at moments of
// chance while everything is compacted. Close ends, Pebble does not panic, and the
// next start has what was committed.
func TestCloseWhileCompacting(t *testing.T) {
	step := watch(t)
	seed := chosenSeed(t)
	for round := range ballastRounds(t, 10) {
		step()
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		fs := vfs.NewCrashableMem()
		o := pebblestore.Quick(small(newPartition(fs, 2<<20)))
		o.MemTableBytes = 0
		full := make(chan struct{}, 1000)
		o.Trouble = func(error) { full <- struct{}{} }
		s := open(t, "data", o)
		want := 0
		for value := make([]byte, 2_000); len(full) == 0; want++ {
			for i := range value {
				value[i] = byte(r.Uint32())
			}
			var c store.Changes
			c.Set(fmt.Appendf(nil, "key %06d", want), value)
			if err := s.Commit(true, &c); err != nil {
				t.Fatal(err)
			}
		}
		for remove := r.IntN(min(want, 400)); remove > 0; remove-- {
			want--
			var c store.Changes
			c.Delete(fmt.Appendf(nil, "key %06d", want))
			if err := s.Commit(true, &c); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(r.IntN(8000)) * time.Microsecond) // compactions begin after 4 ms
		if err := s.Close(); err != nil && strings.Contains(err.Error(), "pebble:") {
			t.Fatalf("round %d: %v", round, err)
		}
		s = open(t, "data", o)
		if have, err := load(t, s); err != nil || len(have) != want {
			t.Fatalf("round %d: %d records after the next start, want %d, %v", round, len(have), want, err)
		}
		go s.Close() // may wait
	}
}
