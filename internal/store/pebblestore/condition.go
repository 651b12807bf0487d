package pebblestore

import (
	"log/slog"
	"sync"
	"time"
)

// condition is the state of a disk: healthy, full or short of something else, or
// failed for good. It owns the ballast, and reports each change. All who use the
// disk share it.
type condition struct {
	retry time.Duration // between tries while something is short
	log   *slog.Logger

	failed chan struct{} // closed when the disk has failed
	closed chan struct{} // closed when the store closes: nothing waits any more

	turnedFull chan struct{} // has an item when full has become true
	starvation chan struct{} // has an item when a compaction had no space

	mu       sync.Mutex  // also held during calls of report: one at a time
	ballast  *ballast    // set before Pebble opens; it may be of no bytes
	report   func(error) // Options.Trouble
	waiting  int         // goroutines that wait
	full     bool        // there was no space, and some of the ballast is missing or compactions starve
	starved  bool        // a compaction had no space
	reported shortage    // what report was called with last
	cause    error       // of the failure
	opening  bool        // Open has not returned: it returns a failure
	closing  bool
}

func newCondition(retry time.Duration, log *slog.Logger, report func(error)) *condition {
	return &condition{
		retry: retry, log: log, report: report, opening: true,
		failed: make(chan struct{}), closed: make(chan struct{}),
		turnedFull: make(chan struct{}, 1), starvation: make(chan struct{}, 1),
	}
}

// fail fails the disk for good. Only the first call counts.
func (c *condition) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = err
	close(c.failed)
	if c.closing || c.opening {
		return // nobody is there to care, or Open returns it
	}
	c.log.Error("store failed: it takes no changes until the next start", "error", err)
	c.report(err)
}

// opened ends the time in which Open returns what fails.
func (c *condition) opened() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opening = false
}

// failure is what failed the disk, or nil.
func (c *condition) failure() error {
	select {
	case <-c.failed:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.cause
	default:
		return nil
	}
}

// close ends all waits, now and later.
func (c *condition) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.closing = true
		close(c.closed)
	}
}

// sleep waits until it is time to try again. It reports whether to.
func (c *condition) sleep(long time.Duration) bool {
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.failed:
		return false
	case <-c.closed:
		return false
	}
}

// beginWait and endWait count those who wait.
func (c *condition) beginWait(s shortage, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	c.reportShortage(s, err)
}

func (c *condition) endWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	c.reportRecovery()
}

// isFull reports whether the disk counts as full, and whether compactions
// starve.
func (c *condition) isFull() (full, starved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full, c.starved
}

// setFull begins the time in which the disk counts as full, with mu held. The
// reclaimer ends it (clearFull).
func (c *condition) setFull(err error) {
	if c.cause != nil || c.closing {
		return
	}
	c.full = true
	c.reportShortage(noSpace, err)
	signal(c.turnedFull)
}

// signal puts an item into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// setStarved notes whether compactions starve.
func (c *condition) setStarved(now bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starved = now
}

// compactionStarved notes that a compaction had no space.
func (c *condition) compactionStarved(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starved = true
	c.setFull(err)
	signal(c.starvation)
}

// clearFull ends the time in which the disk counts as full, unless something went
// wrong again since.
func (c *condition) clearFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starved || c.ballast.missing() > 0 {
		return false
	}
	c.full = false
	c.reportRecovery()
	return true
}

// releaseBallast removes a file of the ballast because of an error for lack of
// space, and reports whether there was one. While a start goes on it may be the
// one for it.
func (c *condition) releaseBallast(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	space := c.ballast.release(c.opening)
	if space || c.ballast.missing() > 0 {
		c.setFull(err)
	}
	return space
}

// releaseBallastIfStarved removes a file of the ballast, the one for a start
// last, if compactions starve or Pebble waits for space. It reports whether it
// did.
func (c *condition) releaseBallastIfStarved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return (c.starved || c.waiting > 0) && !c.closing && c.ballast.release(true)
}

// missingBallast is the size of the ballast that is missing, in bytes.
func (c *condition) missingBallast() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ballast.missing()
}

// createBallast makes a file of the ballast, unless it is present.
func (c *condition) createBallast(i int) error {
	b := c.ballast
	c.mu.Lock()
	present := b.present[i] || b.table == 0
	c.mu.Unlock()
	if present {
		return nil
	}
	if err := b.create(i, c.closed); err != nil {
		return err
	}
	c.mu.Lock()
	b.present[i] = true
	c.mu.Unlock()
	return nil
}

// setFullIfScarce begins the time in which the disk counts as full, if the
// ballast for a start is missing and not even as much is available as another
// file of it takes. It reports whether it did.
func (c *condition) setFullIfScarce(available int64, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ballast.present[0] || available < 0 || available >= otherTables*c.ballast.table {
		return false
	}
	c.setFull(err)
	return true
}

// reportShortage reports something that is short, with mu held, unless that is
// known.
func (c *condition) reportShortage(s shortage, err error) {
	if c.reported == s || c.cause != nil || c.closing {
		return
	}
	c.reported = s
	switch s {
	case noSpace:
		c.log.Error("disk full: the store waits for space", "error", err)
	case noDescriptors:
		c.log.Error("file descriptors used up: the store waits for some; raise the limit of open files (ulimit -n, LimitNOFILE in systemd)", "error", err)
	default:
		c.log.Error("the system is short of memory: the store waits", "error", err)
	}
	c.report(err)
}

// reportRecovery reports that nothing is short any more, with mu held, if that
// is so.
func (c *condition) reportRecovery() {
	if c.reported == noShortage || c.waiting > 0 || c.full || c.cause != nil || c.closing {
		return
	}
	if c.reported == noSpace {
		c.log.Info("disk has space again: the store goes on")
	} else {
		c.log.Info("the store goes on: what it waited for is available again")
	}
	c.reported = noShortage
	c.report(nil)
}
