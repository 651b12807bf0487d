package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
)

// TestLogFile writes and syncs by chance, into new files and old ones, and looks
// after each sync what is in the file: what was written, and zeros to the end of
// the block.
func TestLogFile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	noise := make([]byte, 1<<20) // without zeros
	fill := rand.New(rand.NewPCG(seed, 0))
	for i := range noise {
		noise[i] = byte(1 + fill.IntN(255))
	}
	for _, old := range []int{0, 100, 70_000, 3 << 20} {
		for _, direct := range []bool{false, true} {
			t.Run(fmt.Sprintf("old=%d/direct=%v", old, direct), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, uint64(old)))
				name := filepath.Join(t.TempDir(), "log")
				if err := os.WriteFile(name, bytes.Repeat([]byte{0xff}, old), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := vfs.Default.OpenReadWrite(name, logCategory)
				if err != nil {
					t.Fatal(err)
				}
				w := &directWriter{}
				defer w.close()
				l := newLogFile(f, int64(old), nil)
				if direct {
					if l = newLogFile(f, int64(old), w); l.direct == nil {
						t.Skip("no direct writes in ", t.TempDir())
					}
				}
				var want []byte
				for range 300 {
					most := []int{1, 200, 5000, 40_000}[r.IntN(4)]
					if r.IntN(40) == 0 {
						most = 700_000
					}
					p := noise[r.IntN(len(noise)-most):][:r.IntN(most+1)]
					if _, err := l.Write(p); err != nil {
						t.Fatal(err)
					}
					if want = append(want, p...); r.IntN(3) > 0 {
						continue
					}
					if err := l.SyncData(); err != nil {
						t.Fatal(err)
					}
					checkLog(t, name, want)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				checkLog(t, name, want)
			})
		}
	}
}

func checkLog(t *testing.T, name string, want []byte) {
	t.Helper()
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want[:len(want):len(want)], make([]byte, roundUp(len(want))-len(want))...)
	if len(have) < len(want) || !bytes.Equal(have[:len(want)], want) {
		t.Fatalf("the log has %d bytes; the first %d should be what was written, and zeros", len(have), len(want))
	}
}

// brokenLog is a file whose writes go wrong.
type brokenLog struct {
	vfs.File
	err error
}

func (f *brokenLog) WriteAt(p []byte, at int64) (int, error) {
	if f.err != nil {
		err := f.err
		f.err = nil
		return len(p) / 2, err
	}
	return f.File.WriteAt(p, at)
}

// TestLogFileRetries finds that a write of a log that went wrong can be tried
// again, wherever it went wrong: nothing is lost, and nothing is there twice.
func TestLogFileRetries(t *testing.T) {
	for _, direct := range []bool{false, true} {
		for _, errno := range []error{syscall.ENOSPC, syscall.EINVAL} {
			t.Run(fmt.Sprintf("direct=%v/%v", direct, errno), func(t *testing.T) {
				if !direct && errno == syscall.EINVAL {
					t.Skip("another attempt makes sense for direct writes only")
				}
				name := filepath.Join(t.TempDir(), "log")
				f, err := vfs.Default.Create(name, logCategory)
				if err != nil {
					t.Fatal(err)
				}
				broken, w := &brokenLog{File: f}, &directWriter{}
				defer w.close()
				l := newLogFile(broken, 0, nil)
				if direct {
					if l = newLogFile(broken, 0, w); l.direct == nil {
						t.Skip("no direct writes in ", t.TempDir())
					}
				}
				var want []byte
				failed := 0
				again := func(do func() error) {
					if errno == syscall.ENOSPC || l.direct != nil {
						broken.err = errno
					}
					err := do()
					if err != nil {
						failed++
						err = do()
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				for i := range 100 {
					p := bytes.Repeat([]byte{byte(i + 1)}, 1000*i)
					again(func() error { _, err := l.Write(p); return err })
					want = append(want, p...)
					if i%3 == 0 {
						again(l.SyncData)
						checkLog(t, name, want)
					}
				}
				if errno == syscall.ENOSPC && failed < 20 {
					t.Errorf("%d writes failed: too few to show anything", failed)
				}
				if errno == syscall.EINVAL && (failed > 0 || l.direct != nil) {
					t.Errorf("%d writes failed although the file can be written as any other", failed)
				}
				broken.err = nil
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				checkLog(t, name, want)
			})
		}
	}
}

// TestLogKeepsItsLength finds that a commit as a rule changes nothing but data
// of the log: the file has its length, and blocks that were written, already.
func TestLogKeepsItsLength(t *testing.T) {
	for _, real := range []bool{false, true} {
		t.Run(fmt.Sprintf("real=%v", real), func(t *testing.T) {
			o, dir := Options{FS: vfs.NewMem()}, "data"
			if real {
				o, dir = Options{}, t.TempDir()
			}
			s, _, err := Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			longer, last := 0, int64(0)
			for i := range 500 {
				var c store.Changes
				c.Set(fmt.Appendf(nil, "key %d", i), make([]byte, 300))
				if err := s.Commit(true, &c); err != nil {
					t.Fatal(err)
				}
				if size := logBytes(t, s.disk.FS, dir); size != last {
					longer, last = longer+1, size
				}
			}
			if longer > 12 {
				t.Errorf("500 commits changed the length of the log %d times", longer)
			}
		})
	}
}

// logBytes is the length of all logs together.
func logBytes(t *testing.T, fs vfs.FS, dir string) (size int64) {
	dir = fs.PathJoin(dir, dbName)
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if errors.Is(err, os.ErrNotExist) { // used again under another name
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}
