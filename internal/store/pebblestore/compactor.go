package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactor makes Pebble compact, for the reclaimer. A call of Pebble may never
// end once the disk has failed, and one that has no space goes on until there is
// some; so each has a goroutine of its own, and compact need not wait for its end.
type compactor struct {
	cond      *condition
	db        *pebble.DB
	scheduler *scheduler
	deletions *atomic.Int64 // committed since the start

	ctx    context.Context // of compactions
	cancel func()
	calls  sync.WaitGroup // of Pebble, by begin
	flush  chan error     // what a flush of the tables in memory ends with; nil: none is under way
	parts  chan error     // and the compaction of all parts

	flushed   int64 // deletions when the last flush began
	compacted int64 // and of these, those that the last compaction of all parts saw
}

func newCompactor(cond *condition, db *pebble.DB, scheduler *scheduler, deletions *atomic.Int64) *compactor {
	c := &compactor{cond: cond, db: db, scheduler: scheduler, deletions: deletions}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// deleted reports whether anything was deleted since the start, and whether some
// of that is so new that no compaction has seen it.
func (c *compactor) deleted() (anything, unseen bool) {
	n := c.deletions.Load()
	return n > 0, n != c.compacted
}

// limit sets how many compactions Pebble may run at a time by itself.
func (c *compactor) limit(n int) { c.scheduler.limit(n) }

// errStarved ends compact when a compaction had no space.
var errStarved = errors.New("a compaction had no space")

// compactWait is the time between two calls of meanwhile, in tries (retry of
// condition): 1 s.
const compactWait = 4

// compact compacts everything, part by part, so that it needs little space at a
// time. What was deleted must be in tables for that, so it flushes first. It calls
// meanwhile now and then. It returns early when a compaction had no space: Pebble
// would try the same one again, before all others. The next call goes on then,
// since Pebble panics when one is taken back that it is about to begin. It also
// returns early when the store closes or fails.
func (c *compactor) compact(meanwhile func()) error {
	select {
	case <-c.cond.starvation:
	default:
	}
	c.limit(1)
	defer c.limit(0)
	if c.flush == nil {
		c.flushed = c.deletions.Load()
		c.flush = c.begin(c.db.Flush)
	}
	if err := c.wait(&c.flush, meanwhile); err != nil {
		return err
	}
	if c.parts == nil {
		c.parts, c.compacted = c.begin(c.compactParts), c.flushed
	}
	return c.wait(&c.parts, meanwhile)
}

// begin calls Pebble in a goroutine of its own.
func (c *compactor) begin(call func() error) (done chan error) {
	done = make(chan error, 1)
	c.calls.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				c.cond.fail(fmt.Errorf("pebble: %v", p)) // it may hold Pebble's locks
			}
		}()
		done <- call()
	})
	return done
}

// wait waits for the end of a call, and forgets it then. A compaction that has no
// space ends the wait, but not the call.
func (c *compactor) wait(call *chan error, meanwhile func()) error {
	ticker := time.NewTicker(compactWait * c.cond.retry)
	defer ticker.Stop()
	for {
		select {
		case err := <-*call:
			*call = nil
			return err
		case <-ticker.C:
			meanwhile()
		case <-c.cond.starvation:
			return errStarved
		case <-c.cond.closed:
			return ErrClosed
		case <-c.cond.failed:
			return c.cond.failure()
		}
	}
}

// close ends what was begun, so that Pebble can close: nothing begins any more
// that Pebble could be about to begin.
func (c *compactor) close() {
	c.scheduler.stop()
	c.cancel()
	ended := make(chan struct{})
	go func() {
		c.calls.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-c.cond.failed: // they may never end
	}
}

// compactParts compacts one part of the keys after the other.
func (c *compactor) compactParts() error {
	ends, err := c.partEnds()
	if err != nil {
		return err
	}
	from := []byte{0}
	for _, to := range append(ends, []byte{0xff, 0xff, 0xff, 0xff}) {
		if bytes.Compare(from, to) >= 0 {
			continue
		}
		if err := c.db.Compact(c.ctx, from, to, false); err != nil {
			return err
		}
		from = append(bytes.Clone(to), 0)
	}
	return nil
}

// partTables is the size of the parts that are compacted one after the other, in
// tables in memory. Guess.
const partTables = 2

// partEnds are the last keys of parts of the database, which have as many bytes
// in the lowest level as partTables tables, or a single file.
func (c *compactor) partEnds() (ends [][]byte, err error) {
	levels, err := c.db.SSTables()
	if err != nil {
		return nil, err
	}
	var size uint64
	for _, table := range levels[len(levels)-1] {
		if size += table.Size; size >= uint64(partTables*c.cond.ballast.table) {
			ends, size = append(ends, table.Largest.UserKey), 0
		}
	}
	return ends, nil
}
