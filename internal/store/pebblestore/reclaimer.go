package pebblestore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// ballastEvery is how often missing ballast is made again while the disk is
	// not full, where there was no space before.
	ballastEvery = 30 * time.Second

	// The time between compactions that reclaim space, in tries (retry of
	// condition): 1 s, doubled after one that failed, since that has written a
	// table in vain, up to 5 minutes; 5 s after one that has worked.
	firstCompaction    = 4
	maxCompactionDelay = 1200
	nextCompaction     = 20
)

// compactions is what the reclaimer needs of a database: compactor.
type compactions interface {
	deleted() (anything, unseen bool)
	limit(n int)
	compact(meanwhile func()) error
	close()
}

// reclaimer decides what happens to the ballast, and when compactions reclaim the
// space of what was deleted on a full disk. It runs on a goroutine of its own.
type reclaimer struct {
	cond       *condition
	db         compactions
	committing *atomic.Bool // a commit is under way

	warned    bool          // that there is no space for the ballast
	full      bool          // what condition said last
	delay     time.Duration // between compactions
	next      time.Time     // no compaction before
	available int64         // bytes at the last one
}

// run works until the store closes or fails, and waits for Pebble then, which
// must not close while it compacts.
func (r *reclaimer) run() {
	defer r.db.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.cond.turnedFull:
		case <-r.cond.closed:
			return
		case <-r.cond.failed:
			return
		}
		timer.Reset(r.step())
	}
}

// step looks at the disk, does what is due, and returns when to do so again.
func (r *reclaimer) step() (again time.Duration) {
	full, starved := r.cond.isFull()
	if !full && !r.createBallast() {
		full = r.setFullIfScarce()
	}
	if !full {
		return ballastEvery
	}
	if !r.full {
		r.full, r.delay = true, firstCompaction*r.cond.retry
		r.next = time.Now().Add(r.delay)
		r.available = r.cond.ballast.available()
		r.db.limit(0)
	}
	r.createFirstBallast()
	if r.compactIfWorth(starved); r.recovered() {
		r.full = false
		r.db.limit(maxCompactions)
	}
	return r.cond.retry
}

// createBallast makes what is missing of the ballast, and reports whether all of
// it is present. It leaves as much space as all of it takes.
func (r *reclaimer) createBallast() bool {
	missing := r.cond.missingBallast()
	if missing == 0 {
		return true
	}
	b := r.cond.ballast
	if available := b.available(); available >= 0 && available < missing+b.total() {
		r.warn(fmt.Errorf("%d bytes are left", available))
		return false
	}
	for i := range ballastFiles {
		if err := r.cond.createBallast(i); err != nil {
			r.warn(err)
			return false
		}
	}
	r.warned = false
	return true
}

// createFirstBallast makes the file for a start again, while the disk counts as
// full, so that the next start after a crash has it. It leaves what the others
// take: compactions need that to reclaim more space.
func (r *reclaimer) createFirstBallast() {
	if b := r.cond.ballast; b.available() >= b.total() {
		_ = r.cond.createBallast(0) // else later
	}
}

// warn says once that there is no space for the ballast.
func (r *reclaimer) warn(err error) {
	if full, _ := r.cond.isFull(); full || r.warned || errors.Is(err, ErrClosed) {
		return
	}
	r.warned = true
	r.cond.log.Warn("no space for the ballast, which would make space when the disk is full", "bytes", r.cond.ballast.total(), "error", err)
}

// setFullIfScarce begins the time in which the disk counts as full, if the
// ballast for a start is missing and not even as much is available as another
// file of it takes. It reports whether it did.
func (r *reclaimer) setFullIfScarce() bool {
	available := r.cond.ballast.available()
	return r.cond.setFullIfScarce(available, fmt.Errorf("%d bytes are left, and no ballast", available))
}

// compactIfWorth compacts what can be, if that may reclaim space: something was
// deleted since the last time, there is more space for it, or a compaction has
// starved, or a commit is under way that may wait for one.
func (r *reclaimer) compactIfWorth(starved bool) {
	if time.Now().Before(r.next) {
		return
	}
	available := r.cond.ballast.available()
	if _, unseen := r.db.deleted(); !unseen && available <= r.available+r.available/2 && !starved && !r.committing.Load() {
		return
	}
	r.available = available
	r.cond.setStarved(false)
	if err := r.db.compact(func() { r.releaseBallast() }); err == nil && !r.starved() {
		r.delay, r.next = firstCompaction*r.cond.retry, time.Now().Add(nextCompaction*r.cond.retry)
		return
	}
	if r.releaseBallast() {
		r.delay = firstCompaction * r.cond.retry
	}
	if starved {
		r.cond.setStarved(true)
	}
	r.next = time.Now().Add(r.delay)
	r.delay = min(2*r.delay, maxCompactionDelay*r.cond.retry)
}

func (r *reclaimer) starved() bool {
	_, starved := r.cond.isFull()
	return starved
}

// releaseBallast releases a file of the ballast, the one for a start last, where
// something was deleted since the start and compactions lack space for it. It
// reports whether it did. Most of what the logs held is in tables then, so that a
// start needs less.
func (r *reclaimer) releaseBallast() bool {
	anything, _ := r.db.deleted()
	return anything && r.cond.releaseBallastIfStarved()
}

// recovered ends the time in which the disk counts as full, if the ballast is
// present again and compactions have space.
func (r *reclaimer) recovered() bool {
	if r.starved() || !r.createBallast() {
		return false
	}
	return r.cond.clearFull()
}
