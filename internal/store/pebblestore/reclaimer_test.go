package pebblestore

import (
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fakeDB is a database for a reclaimer. Its compactions do what a test says.
type fakeDB struct {
	began     time.Time
	committed int64 // deletions
	compacted int64 // of these
	limits    []int
	at        []time.Duration // when compact was called
	closed    bool

	// result is what a compaction comes to; during is called while it runs.
	result func() error
	during func(meanwhile func())
}

func (db *fakeDB) deleted() (anything, unseen bool) {
	return db.committed > 0, db.committed != db.compacted
}

func (db *fakeDB) limit(n int) { db.limits = append(db.limits, n) }

func (db *fakeDB) close() { db.closed = true }

func (db *fakeDB) compact(meanwhile func()) error {
	db.at = append(db.at, time.Since(db.began))
	db.compacted = db.committed
	if db.during != nil {
		db.during(meanwhile)
	}
	if db.result != nil {
		return db.result()
	}
	return nil
}

// gaps are the times between compactions.
func (db *fakeDB) gaps() (all []time.Duration) {
	last := time.Duration(0)
	for _, at := range db.at {
		all = append(all, at-last)
		last = at
	}
	return all
}

// smallDisk is a partition of which a test says how much is left.
type smallDisk struct {
	vfs.FS
	left atomic.Int64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: 1 << 30, AvailBytes: uint64(d.left.Load())}, nil
}

// reclaiming is a reclaimer that works on a disk and a database that a test has
// in its hands.
type reclaiming struct {
	*reclaimer
	t        *testing.T
	disk     *smallDisk
	db       *fakeDB
	reported []error
}

const testRetry = time.Second

// startReclaimer starts a reclaimer with the whole ballast, in a bubble of synctest.
func startReclaimer(t *testing.T) *reclaiming {
	t.Helper()
	r := &reclaiming{t: t, disk: &smallDisk{FS: vfs.NewMem()}, db: &fakeDB{began: time.Now()}}
	if err := r.disk.MkdirAll("data", 0o700); err != nil {
		t.Fatal(err)
	}
	r.disk.left.Store(1 << 30)
	cond := newCondition(testRetry, slog.New(slog.DiscardHandler), func(err error) { r.reported = append(r.reported, err) })
	cond.ballast = findBallast(r.disk, "data", ballastTables<<10)
	cond.opened()
	r.reclaimer = &reclaimer{cond: cond, db: r.db, committing: &atomic.Bool{}}
	go r.run()
	synctest.Wait()
	if cond.missingBallast() != 0 {
		t.Fatal("the ballast was not made at the start")
	}
	return r
}

// fill lets the disk become full: all ballast goes but that for a start.
func (r *reclaiming) fill() {
	r.t.Helper()
	r.disk.left.Store(0)
	for r.cond.releaseBallast(syscall.ENOSPC) {
	}
	synctest.Wait()
	r.files(1)
	r.db.began, r.db.at = time.Now(), nil
}

// files checks how many files of the ballast are present.
func (r *reclaiming) files(want int) {
	r.t.Helper()
	names, err := r.disk.List("data")
	if err != nil || len(names) != want {
		r.t.Errorf("ballast %v, want %d files, %v", names, want, err)
	}
}

// pass lets time pass. The reclaimer sees what the test has changed before: it
// locks the condition first, too.
func (r *reclaiming) pass(d time.Duration) {
	r.cond.isFull()
	time.Sleep(d)
	synctest.Wait()
}

// end closes the reclaimer.
func (r *reclaiming) end() {
	r.t.Helper()
	r.cond.close()
	synctest.Wait()
	if !r.db.closed {
		r.t.Error("the reclaimer did not close the database")
	}
}

// starve is a compaction that has no space.
func (r *reclaiming) starve() error {
	r.cond.compactionStarved(syscall.ENOSPC)
	return errStarved
}

// TestReclaimerWaits lets a disk be full without anything to reclaim: nothing is
// compacted, however long that takes, and the ballast for a start stays.
func TestReclaimerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReclaimer(t)
		r.pass(time.Hour)
		if len(r.db.at) != 0 || len(r.db.limits) != 0 {
			t.Errorf("on a disk with space: %d compactions, limits %v", len(r.db.at), r.db.limits)
		}
		r.fill()
		r.pass(time.Hour)
		if len(r.db.at) != 0 || !slices.Equal(r.db.limits, []int{0}) {
			t.Errorf("%d compactions although nothing was deleted, limits %v", len(r.db.at), r.db.limits)
		}
		r.files(1)
		if full, _ := r.cond.isFull(); !full || len(r.reported) != 1 {
			t.Errorf("full %v, reported %v", full, r.reported)
		}
		r.end()
	})
}

// TestReclaimerRecovers lets a compaction reclaim all the space that is needed.
func TestReclaimerRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReclaimer(t)
		r.fill()
		r.db.committed = 1
		r.db.result = func() error {
			r.disk.left.Store(1 << 30)
			return nil
		}
		r.pass(time.Hour)
		if !slices.Equal(r.db.gaps(), []time.Duration{firstCompaction * testRetry}) {
			t.Errorf("compactions at %v, want one after %v", r.db.at, firstCompaction*testRetry)
		}
		if !slices.Equal(r.db.limits, []int{0, maxCompactions}) {
			t.Errorf("limits %v: Pebble compacts by itself before and after, and not meanwhile", r.db.limits)
		}
		r.files(ballastFiles)
		if full, _ := r.cond.isFull(); full || len(r.reported) != 2 || r.reported[1] != nil {
			t.Errorf("full %v, reported %v", full, r.reported)
		}
		r.end()
	})
}

// TestReclaimerDelays checks the time between compactions: that of those which
// work but do not reclaim enough, and of those which have no space.
func TestReclaimerDelays(t *testing.T) {
	t.Run("work", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := startReclaimer(t)
			r.fill()
			r.db.committed = 1
			r.db.during = func(func()) { r.db.committed++ } // a client takes a message
			r.pass(3 * nextCompaction * testRetry)
			want := []time.Duration{firstCompaction * testRetry, nextCompaction * testRetry, nextCompaction * testRetry}
			if !slices.Equal(r.db.gaps(), want) {
				t.Errorf("times between compactions %v, want %v", r.db.gaps(), want)
			}
			r.files(1)
			r.end()
		})
	})
	t.Run("starve", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := startReclaimer(t)
			r.fill()
			r.db.committed = 1
			r.db.result = r.starve
			r.pass(3 * time.Hour)
			r.files(0) // something was deleted: the last file goes, too
			gaps := r.db.gaps()
			want := []time.Duration{4, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1200, 1200}
			if len(gaps) < len(want) {
				t.Fatalf("times between compactions %v", gaps)
			}
			for i, w := range want {
				if gaps[i] != w*testRetry {
					t.Fatalf("times between compactions %v, want %d s", gaps, want)
				}
			}
			r.end()
		})
	})
	t.Run("nothing deleted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := startReclaimer(t)
			r.fill()
			r.starve()
			r.db.result = r.starve
			r.pass(time.Hour)
			if len(r.db.at) < 2 {
				t.Errorf("compactions at %v although one starves", r.db.at)
			}
			r.files(1) // it is for a start
			r.end()
		})
	})
}

// TestReclaimerReleases lets a compaction wait for space while it runs: the last
// file of the ballast goes, if something was deleted.
func TestReclaimerReleases(t *testing.T) {
	for _, deleted := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := startReclaimer(t)
			r.fill()
			r.cond.beginWait(noSpace, syscall.ENOSPC) // a flush
			r.committing.Store(true)                  // waits for it
			if deleted {
				r.db.committed = 1
			}
			left := 1
			r.db.during = func(meanwhile func()) {
				meanwhile()
				if deleted {
					left = 0
				}
				r.files(left)
				meanwhile()
				r.files(left)
			}
			r.pass(firstCompaction * testRetry)
			if len(r.db.at) != 1 {
				t.Errorf("compactions at %v, want one", r.db.at)
			}
			r.end()
		})
	}
}

// TestReclaimerFirstFile makes the ballast for a start again as soon as there is
// space for all of it. More is needed to end the time of the full disk: space for
// what is missing, and for all of it again.
func TestReclaimerFirstFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReclaimer(t)
		r.fill()
		r.db.committed = 1
		r.cond.setStarved(true)
		r.db.result = r.starve
		r.pass(10 * testRetry)
		r.files(0)
		r.disk.left.Store(r.cond.ballast.total() - 1)
		r.pass(testRetry)
		r.files(0)
		r.disk.left.Store(r.cond.ballast.total())
		r.pass(testRetry)
		r.files(1)
		r.db.result = nil
		enough := r.cond.missingBallast() + r.cond.ballast.total()
		r.disk.left.Store(enough - 1)
		r.pass(time.Hour)
		r.files(1)
		r.disk.left.Store(enough)
		r.pass(testRetry)
		r.files(ballastFiles)
		r.end()
	})
}

// TestReclaimerScarce starts where the ballast for a start is missing and less
// is available than another file of it takes: the disk counts as full at once.
func TestReclaimerScarce(t *testing.T) {
	for _, short := range []int64{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			disk := &smallDisk{FS: vfs.NewMem()}
			var reported []error
			cond := newCondition(testRetry, slog.New(slog.DiscardHandler), func(err error) { reported = append(reported, err) })
			cond.ballast = findBallast(disk, "data", ballastTables<<10)
			cond.opened()
			disk.left.Store(otherTables<<10 - short)
			db := &fakeDB{}
			r := &reclaimer{cond: cond, db: db, committing: &atomic.Bool{}}
			go r.run()
			synctest.Wait()
			if full, _ := cond.isFull(); full != (short > 0) || len(reported) != int(short) {
				t.Errorf("%d bytes short: full %v, reported %v", short, full, reported)
			}
			cond.close()
			synctest.Wait()
		})
	}
}

// TestReclaimerFails ends the reclaimer when the disk fails.
func TestReclaimerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReclaimer(t)
		r.cond.fail(errors.New("broken"))
		synctest.Wait()
		if !r.db.closed {
			t.Error("the reclaimer goes on on a disk that has failed")
		}
	})
}
