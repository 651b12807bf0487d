package pebblestore_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// workload commits pairs of records, which are there together or not at all.
// It keeps what a start after any of its commits may find.
type workload struct {
	r      *rand.Rand
	now    map[string]string
	states []map[string]string // after each commit
	synced int                 // states before this one cannot come back
}

func newWorkload(seed uint64) *workload {
	return &workload{r: rand.New(rand.NewPCG(seed, 2)), now: map[string]string{}, states: []map[string]string{{}}}
}

// commit makes one commit.
func (w *workload) commit(s *pebblestore.Store, sync bool) error {
	var c store.Changes
	next := maps.Clone(w.now)
	for range 1 + w.r.IntN(4) {
		n := w.r.IntN(50)
		a, b := fmt.Sprintf("a%02d", n), fmt.Sprintf("b%02d", n)
		switch _, there := next[a]; {
		case there && w.r.IntN(2) == 0:
			c.Delete([]byte(a))
			c.Delete([]byte(b))
			delete(next, a)
			delete(next, b)
		default:
			v := fmt.Sprintf("%d %0*d", len(w.states), 1+w.r.IntN(6000), n)
			c.Set([]byte(a), []byte(v))
			c.Set([]byte(b), []byte(v))
			next[a], next[b] = v, v
		}
	}
	// What a failed commit left may be there or not.
	w.now = next
	w.states = append(w.states, next)
	err := s.Commit(sync, &c)
	if err == nil && sync {
		w.synced = len(w.states) - 1
	}
	return err
}

// judge says what is wrong with what a start found: it must be a state that
// was, and not older than the last one that was synced.
func (w *workload) judge(have map[string]string) error {
	for i := len(w.states) - 1; i >= 0; i-- {
		if maps.Equal(have, w.states[i]) {
			if i < w.synced {
				return fmt.Errorf("the state after commit %d is back, and commit %d was acknowledged", i, w.synced)
			}
			return nil
		}
	}
	return fmt.Errorf("%d records that no commit left together; %d commits, %d acknowledged", len(have), len(w.states)-1, w.synced)
}

// TestPowerCut cuts the power at points of chance: what was synced survives,
// what was not may go, and no commit is there by half.
func TestPowerCut(t *testing.T) {
	step := watch(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	fs := vfs.NewCrashableMem()
	w := newWorkload(seed)
	for round := range 25 {
		step()
		s := open(t, "data", small(fs))
		have, err := load(t, s)
		if err == nil {
			err = w.judge(have)
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		w.now, w.states, w.synced = have, []map[string]string{have}, 0
		for range r.IntN(80) {
			if err := w.commit(s, r.IntN(3) == 0); err != nil {
				t.Fatal(err)
			}
		}
		crash := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: rand.New(rand.NewPCG(seed, uint64(round)))})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs = crash
	}
}

// TestFault makes each operation on the disk fail in turn, once or from then
// on. The process goes on, a commit returns nil only for what is there after
// the next start, and Close ends.
func TestFault(t *testing.T) {
	base, before := prepared(t)
	tests := []struct {
		name  string
		once  bool
		fails func(op errorfs.Op) bool
	}{
		{"writes", true, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }},
		{"all writes", false, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }},
		{"syncs", true, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		}},
		{"reads", true, func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsRead }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			step := watch(t)
			failed := 0
			for n := int64(0); n < 2000; n += 1 + n/40 {
				step()
				var count, hits atomic.Int64
				inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
					if !test.fails(op) {
						return nil
					}
					if i := count.Add(1) - 1; i < n || i > n && test.once {
						return nil
					}
					hits.Add(1)
					return fmt.Errorf("%w: %s", syscall.EIO, op.Path)
				})
				broke, err := faulty(t, base, before, inject)
				if err != nil {
					t.Fatalf("operation %d: %v", n, err)
				}
				if broke {
					failed++
				}
				if hits.Load() == 0 {
					t.Logf("%d operations, %d of the tried ones failed the store", count.Load(), failed)
					break
				}
			}
			if failed == 0 && test.name != "reads" {
				t.Error("no fault failed the store: the test proves nothing")
			}
		})
	}
}

// prepared is a store with tables and a log, and what it holds.
func prepared(t *testing.T) (*vfs.MemFS, map[string]string) {
	fs := vfs.NewCrashableMem()
	s := open(t, "data", small(fs))
	w := newWorkload(1)
	for range 60 {
		if err := w.commit(s, true); err != nil {
			t.Fatal(err)
		}
	}
	crash := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return crash, w.now
}

// faulty runs a workload on a disk that fails, and judges what the next start
// finds. It reports whether the store failed.
func faulty(t *testing.T, base *vfs.MemFS, before map[string]string, inject errorfs.Injector) (broke bool, err error) {
	fs := vfs.NewCrashableMem()
	if _, err := vfs.Clone(base, fs, "", "", vfs.CloneSync); err != nil {
		t.Fatal(err)
	}
	w := newWorkload(2)
	w.now, w.states = before, []map[string]string{before}
	o := small(errorfs.Wrap(fs, inject))
	var told atomic.Int64
	o.Trouble = func(err error) {
		if err != nil {
			told.Add(1)
		}
	}
	o = pebblestore.Quick(o)
	s, _, err := pebblestore.Open("data", o)
	if err != nil {
		broke = true
	} else {
		ended := looked(s)
		for range 40 {
			if err := w.commit(s, w.r.IntN(2) == 0); err != nil {
				broke = true
				if again := s.Commit(true); again == nil || !strings.Contains(again.Error(), "commit in the store in data: after an earlier failure") {
					return broke, fmt.Errorf("commit after a failure: %v", again)
				}
				if told.Load() != 1 {
					return broke, fmt.Errorf("Trouble was told %d times", told.Load())
				}
				break
			}
		}
		if _, err := s.Get(nil, []byte("none")); !broke && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, syscall.EIO) {
			return broke, fmt.Errorf("get: %w", err)
		}
		if err := s.Close(); err != nil {
			broke = true
		} else {
			w.synced = len(w.states) - 1
		}
		<-ended
	}
	for _, after := range []*vfs.MemFS{fs.CrashClone(vfs.CrashCloneCfg{}), fs} {
		s, report, err := pebblestore.Open("data", small(after))
		if err != nil {
			return broke, fmt.Errorf("next start: %w", err)
		}
		have, err := load(t, s)
		if err == nil {
			err = w.judge(have)
		}
		if err != nil {
			return broke, fmt.Errorf("next start: %w (%+v)", err, report)
		}
		if err := s.Close(); err != nil {
			return broke, err
		}
	}
	return broke, nil
}

// TestDiskFull lets the disk run full now and then. Commits wait, Trouble is
// told when it begins and when it is over, and nothing is lost.
func TestDiskFull(t *testing.T) {
	step := watch(t)
	fs := vfs.NewCrashableMem()
	room := &room{}
	room.left.Store(1 << 40)
	o := pebblestore.Quick(small(errorfs.Wrap(fs, errorfs.InjectorFunc(room.take))))
	told := make(chan error, 100)
	o.Trouble = func(err error) { told <- err }
	s := open(t, "data", o)
	w := newWorkload(3)
	for round := range 20 {
		step()
		room.left.Store(int64(round * 7))
		done := make(chan error, 1)
		var over atomic.Bool
		go func() {
			for !over.Load() {
				if err := w.commit(s, w.r.IntN(2) == 0); err != nil {
					done <- err
					return
				}
			}
			done <- s.Commit(true)
		}()
		select { // commits go on until there is no room, however much they need
		case err := <-told:
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("round %d: told %v", round, err)
			}
		case err := <-done:
			t.Fatalf("round %d: the commits ended: %v", round, err)
		}
		over.Store(true)
		room.left.Store(1 << 40)
		if err := <-told; err != nil {
			t.Fatalf("round %d: told %v when there was room again", round, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w.synced = len(w.states) - 1
	}
	crash := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, after := range []vfs.FS{crash, fs} {
		s := open(t, "data", small(after))
		defer s.Close()
		have, err := load(t, s)
		if err == nil {
			err = w.judge(have)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFullClose closes a store that waits for room. Nothing that was
// acknowledged is lost.
func TestDiskFullClose(t *testing.T) {
	step := watch(t)
	for left := range int64(30) {
		step()
		fs := vfs.NewCrashableMem()
		room := &room{}
		room.left.Store(1 << 40)
		o := pebblestore.Quick(small(errorfs.Wrap(fs, errorfs.InjectorFunc(room.take))))
		told := make(chan error, 100)
		o.Trouble = func(err error) { told <- err }
		s := open(t, "data", o)
		w := newWorkload(uint64(left))
		ended := looked(s)
		room.left.Store(left)
		done := make(chan error, 1)
		go func() {
			for {
				if err := w.commit(s, true); err != nil {
					done <- err
					return
				}
			}
		}()
		if err := <-told; !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("told %v", err)
		}
		closing := s.Close()
		if err := <-done; err == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, pebblestore.ErrClosed) {
			t.Fatalf("commit: %v", err)
		}
		<-ended
		t.Logf("close: %v", closing)
		s = open(t, "data", small(fs))
		have, err := load(t, s)
		if err == nil {
			err = w.judge(have)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// looked looks at a store all the time, as readers and metrics do, until it is
// closed. Close must not wait for what a look waits for.
func looked(s *pebblestore.Store) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		for {
			s.Stats()
			if err := s.Scan([]byte("a"), []byte("b"), func(_, _ []byte) error { return nil }); errors.Is(err, pebblestore.ErrClosed) {
				return
			}
			if _, err := s.Get(nil, []byte("a01")); errors.Is(err, pebblestore.ErrClosed) {
				return
			}
			runtime.Gosched()
		}
	}()
	return ended
}

// room is what is left of a disk: operations that need some.
type room struct{ left atomic.Int64 }

func (r *room) take(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpMkdirAll, errorfs.OpLink:
		if r.left.Add(-1) < 0 {
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
	}
	return nil
}
