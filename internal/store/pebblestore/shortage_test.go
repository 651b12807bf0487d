package pebblestore_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store/pebblestore"
)

// opens are the operations that need what a system may be short of.
var opens = map[errorfs.OpKind]bool{
	errorfs.OpCreate: true, errorfs.OpLink: true, errorfs.OpOpen: true, errorfs.OpOpenDir: true, errorfs.OpRename: true,
	errorfs.OpReuseForWrite: true, errorfs.OpMkdirAll: true, errorfs.OpLock: true, errorfs.OpList: true, errorfs.OpStat: true,
	errorfs.OpFileRead: true, errorfs.OpFileReadAt: true, errorfs.OpFileWrite: true, errorfs.OpFileWriteAt: true, errorfs.OpFileStat: true,
}

// TestLack lets the system run out of descriptors, or of something else that
// comes back, at each operation of a history that opens a store, fills it, reads
// it and closes it: from there on all of them fail. The store waits and tells so;
// when what it lacks is there again it goes on as if nothing had been.
func TestLack(t *testing.T) {
	base, before := prepared(t)
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			t.Parallel()
			step := watch(t)
			waits := map[errorfs.OpKind]int{}
			for n := int64(0); ; n += 1 + n/30 {
				step()
				kind, hit, err := lacking(t, base, before, n, errno)
				if err != nil {
					t.Fatalf("operation %d, %v: %v", n, kind, err)
				}
				if !hit {
					t.Logf("%d operations; waits by kind of operation: %v", n, waits)
					break
				}
				waits[kind]++
			}
			if len(waits) < 8 {
				t.Error("too few kinds of operations failed: the test proves little")
			}
		})
	}
}

// lacking runs one history. It tells which kind of operation was the first to
// fail, if one was.
func lacking(t *testing.T, base *vfs.MemFS, before map[string]string, n int64, errno syscall.Errno) (kind errorfs.OpKind, hit bool, err error) {
	fs := vfs.NewCrashableMem()
	if _, err := vfs.Clone(base, fs, "", "", vfs.CloneSync); err != nil {
		t.Fatal(err)
	}
	var count atomic.Int64
	var first atomic.Int64
	var repaired atomic.Bool
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if repaired.Load() || !opens[op.Kind] || count.Add(1) <= n {
			return nil
		}
		first.CompareAndSwap(0, int64(op.Kind)+1)
		return &os.PathError{Op: "open", Path: op.Path, Err: errno}
	})
	told := make(chan error, 100)
	o := pebblestore.Quick(small(errorfs.Wrap(fs, inject)))
	o.Trouble = func(err error) { told <- err }
	w := newWorkload(2)
	w.now, w.states = before, []map[string]string{before}
	ended, closing := make(chan error, 1), make(chan struct{})
	go func() { ended <- history(w, o, closing, errno) }()
	for waits, over := false, false; !over; {
		select {
		case closing <- struct{}{}: // what it lacks nobody needs
			repaired.Store(true)
			if waits {
				err = <-told
			}
			closing <- struct{}{}
			err = errors.Join(err, <-ended)
			over = true
		case err = <-ended:
			over = true
		case err := <-told:
			if waits = err != nil; waits && !errors.Is(err, errno) {
				return 0, true, fmt.Errorf("told %w", err)
			}
			repaired.Store(true)
		}
	}
	repaired.Store(true)
	hit = first.Load() != 0
	if err != nil {
		return errorfs.OpKind(first.Load() - 1), hit, err
	}
	s, _, err := pebblestore.Open("data", small(fs))
	if err != nil {
		return 0, hit, fmt.Errorf("next start: %w", err)
	}
	defer s.Close()
	have, err := load(t, s)
	if err == nil {
		err = w.judge(have)
	}
	return errorfs.OpKind(first.Load() - 1), hit, err
}

// history opens a store, fills it, reads it, and closes it when closing lets it
// the second time. A Close ends what waits in the background.
func history(w *workload, o pebblestore.Options, closing chan struct{}, errno syscall.Errno) error {
	s, _, err := pebblestore.Open("data", o)
	if err != nil {
		return err
	}
	for range 60 {
		if err := w.commit(s, w.r.IntN(2) == 0); err != nil {
			return err
		}
	}
	n := 0
	if err := s.Scan([]byte("a"), []byte("z"), func(_, _ []byte) error { n++; return nil }); err != nil {
		return err
	}
	if n != len(w.now) {
		return fmt.Errorf("%d records, want %d", n, len(w.now))
	}
	<-closing
	<-closing
	switch err := s.Close(); {
	case errors.Is(err, errno):
		return nil
	case err != nil:
		return err
	}
	w.synced = len(w.states) - 1
	return nil
}
