package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
)

// hurtFS is a file system whose reads of tables go wrong from one of them on.
type hurtFS struct {
	vfs.FS
	left atomic.Int64 // reads until then
	hurt func(p []byte) error
}

type hurtFile struct {
	vfs.File
	fs *hurtFS
}

func (fs *hurtFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	return &hurtFile{f, fs}, nil
}

func (f *hurtFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err != nil || f.fs.left.Add(-1) >= 0 {
		return n, err
	}
	return n, f.fs.hurt(p)
}

// TestCompactionReadsBadly lets a compaction that removes all that a table has come
// upon blocks that can't be read, at each of its reads in turn. The process goes
// on, and the store fails.
func TestCompactionReadsBadly(t *testing.T) {
	for name, hurt := range map[string]func([]byte) error{
		"error":  func([]byte) error { return syscall.EIO },
		"damage": func(p []byte) error { p[len(p)/2] ^= 1; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for n := range int64(24) { // as many as there are, about
				if compactBadly(t, hurt, n) {
					failed++
				}
			}
			t.Logf("the store failed %d times", failed)
			if failed < 5 {
				t.Error("the store has not failed: the test proves nothing")
			}
		})
	}
}

func compactBadly(t *testing.T, hurt func([]byte) error, at int64) (failed bool) {
	t.Helper()
	fs := &hurtFS{FS: vfs.NewMem(), hurt: hurt}
	fs.left.Store(1 << 40)
	told := make(chan error, 10)
	s, _, err := Open("data", Quick(Options{FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1, Trouble: func(err error) { told <- err }}))
	if err != nil {
		t.Fatal(err)
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "m%06d", i) }
	rnd := rand.New(rand.NewPCG(1, 1))
	commit := func(change func(c *store.Changes, i int)) error {
		var c store.Changes
		for i := range 300 {
			change(&c, i)
		}
		if err := s.Commit(true, &c); err != nil {
			return err
		}
		if err := s.db.Flush(); err != nil {
			return err
		}
		return s.db.Compact(context.Background(), []byte("a"), []byte("z"), false)
	}
	err = commit(func(c *store.Changes, i int) {
		value := make([]byte, 300)
		for j := range value {
			value[j] = byte(rnd.Uint32())
		}
		c.Set(key(i), value)
	})
	if err != nil {
		t.Fatal(err)
	}
	fs.left.Store(at)
	done := make(chan error, 1)
	go func() { done <- commit(func(c *store.Changes, i int) { c.DeleteOnce(key(i)) }) }()
	select {
	case <-done: // with or without an error
	case <-told:
	}
	fs.left.Store(1 << 40)
	err = s.Close()
	if failed = !errors.Is(s.disk.failure(), ErrClosed); err != nil && !failed {
		t.Errorf("read %d: close: %v", at, err)
	}
	return failed
}
