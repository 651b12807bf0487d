package pebblestore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// partition is a file system in memory with so much room and no more.
type partition struct {
	*vfs.MemFS
	size int64
	mu   *sync.Mutex
}

func newPartition(fs *vfs.MemFS, size int64) partition { return partition{fs, size, new(sync.Mutex)} }

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
	used := uint64(p.used("data"))
	return vfs.DiskUsage{TotalBytes: uint64(p.size), UsedBytes: used, AvailBytes: uint64(p.size) - min(used, uint64(p.size))}, nil
}

func (p partition) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.MemFS.Create(name, c)
	return bounded{f, p, name}, err
}

func (p partition) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
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
	if f.p.used("data")+bytes > f.p.size {
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

// TestBallast fills a small partition with records, and removes them all again:
// the ballast makes room for that, and is made again. The power fails at a moment
// of chance meanwhile, or does not; after the next start it is the same.
func TestBallast(t *testing.T) {
	step := watch(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range 12 {
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
			if i == crash {
				next := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
				for len(told) > 0 {
					<-told
				}
				go s.Close() // its disk is gone
				fs = next
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
		// All is well when the partition takes as much again.
		for range len(keys) / 2 {
			var c store.Changes
			c.Set([]byte("again"), make([]byte, 20_000))
			if err := s.Commit(true, &c); err != nil {
				t.Fatal(err)
			}
		}
		if crash < 0 {
			for err := range told {
				if err == nil {
					break
				}
			}
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
	for !strings.Contains(log.String(), "no room for the ballast") {
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
