package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestCommittedAfterSync drives the committer with random turns of several
// shards, which await each other, over a disk that takes its time, is full now
// and then, or fails for good, and proves that
//
//   - a turn that somebody waits for is released only after a sync has returned
//     nil for its changes, for its last changes, and for all that it builds on;
//   - others are released only when they are applied;
//   - the last changes of a turn are never on disk before all that it awaits;
//   - the turns of a shard are complete, and released, in their order
//     (MQTT-4.6.0-5);
//   - once the disk goes on, everything that was submitted is released; after it
//     has failed for good, nothing is;
//   - nothing that was written stays unsynced for longer than agreed.
//
// MIDGE_SEED runs one seed only.
func TestCommittedAfterSync(t *testing.T) {
	if text := os.Getenv("MIDGE_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		runCommitting(t, seed)
		return
	}
	start := uint64(time.Now().UnixNano())
	const runs = 2000
	t.Logf("%d runs, seeds from %d", runs, start)
	for i := range uint64(runs) {
		if runCommitting(t, start+i); t.Failed() {
			return
		}
	}
}

func runCommitting(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitting(t, seed)
		c.run()
	})
}

// committing is one run.
type committing struct {
	t        *testing.T
	seed     uint64
	rand     *rand.Rand // of the goroutine of the test
	disk     *testDisk
	store    *Store
	interval time.Duration
	failAt   int // commit that fails for good, 0: none

	mu       sync.Mutex
	shards   [][]*written // submitted, by shard
	released []uint64     // by shard
	applied  map[string]bool
	synced   map[string]bool
	since    time.Time // when the oldest change that is not synced was applied; zero: none
	held     time.Duration
	failed   bool
	syncs    int // that returned nil
}

// written is a turn as the test knows it.
type written struct {
	n      int
	t      *Turn
	urgent bool
	behind bool
	after  []*written // it builds on
	heirs  []*written // those that it awaits
	owed   int        // posts that no turn has handled yet
}

func (w *written) changes() string { return fmt.Sprint("c", w.n) }
func (w *written) finally() string { return fmt.Sprint("f", w.n) }

func newCommitting(t *testing.T, seed uint64) *committing {
	r := rand.New(rand.NewPCG(seed, 1))
	shards := 1 + r.IntN(4)
	c := &committing{
		t: t, seed: seed, rand: r, disk: newTestDisk(), shards: make([][]*written, shards), released: make([]uint64, shards),
		applied: map[string]bool{}, synced: map[string]bool{},
	}
	if r.IntN(4) == 0 {
		c.interval = time.Duration(1+r.IntN(50)) * time.Millisecond
	}
	if r.IntN(3) == 0 {
		c.failAt = 1 + r.IntN(30)
	}
	disk := rand.New(rand.NewPCG(seed, 2)) // of the committing goroutine
	commits := 0
	c.disk.hook = func(sync bool, lists []*Changes) error {
		commits++
		return c.commit(disk, commits, sync, lists)
	}
	c.store = New(c.disk, Config{Shards: shards, Interval: c.interval, Committed: c.free})
	return c
}

// fail ends the run. It must not be called with the lock from a goroutine that
// is not the test's.
func (c *committing) fail(format string, args ...any) {
	c.t.Errorf("MIDGE_SEED=%d (interval %v, fails at %d): %s", c.seed, c.interval, c.failAt, fmt.Sprintf(format, args...))
}

// commit is the disk: slow, sometimes full for a while, at last broken.
func (c *committing) commit(r *rand.Rand, n int, sync bool, lists []*Changes) error {
	hold := time.Duration(0)
	switch r.IntN(8) {
	case 0, 1, 2:
		hold = time.Duration(r.IntN(3000)) * time.Microsecond
	case 3: // full
		hold = time.Duration(r.IntN(300)) * time.Millisecond
		c.store.Report(errDisk)
	}
	c.mu.Lock()
	c.late() // before it is our own time that passes
	c.held = hold
	c.mu.Unlock()
	time.Sleep(hold)
	if n == c.failAt {
		c.mu.Lock()
		c.failed = true
		c.mu.Unlock()
		return errDisk
	}
	c.store.Report(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = 0
	for _, l := range lists {
		for ch := range l.All() {
			c.applied[string(ch.Key)] = true
		}
	}
	c.checkLast(lists)
	if c.since.IsZero() {
		c.since = time.Now()
	}
	if sync {
		c.since = time.Time{}
		for k := range c.applied {
			c.synced[k] = true
		}
		c.syncs++
	}
	return nil
}

// checkLast looks at the last changes of turns in a batch.
func (c *committing) checkLast(lists []*Changes) {
	for _, l := range lists {
		for ch := range l.All() {
			if ch.Key[0] != 'f' {
				continue
			}
			n, _ := strconv.Atoi(string(ch.Key[1:]))
			w, before := c.find(n)
			if before != nil && !c.applied[before.finally()] {
				c.fail("turn %d is complete before turn %d of its shard", n, before.n)
			}
			if w.owed > 0 {
				c.fail("turn %d is complete, and %d messages of it were handled nowhere", n, w.owed)
			}
			for m := range n {
				if m > 0 && w.behind && !c.applied[fmt.Sprint("f", m)] {
					c.fail("turn %d is complete before turn %d, which it is behind", n, m)
				}
			}
			for _, h := range w.heirs {
				if !c.applied[h.changes()] {
					c.fail("turn %d is complete before turn %d, which it awaits", n, h.n)
				}
			}
		}
	}
}

// find finds a turn, and the one before it on its shard.
func (c *committing) find(n int) (w, before *written) {
	for _, all := range c.shards {
		before = nil
		for _, w := range all {
			if w.n == n {
				return w, before
			}
			before = w
		}
	}
	panic("no such turn")
}

// late checks that nothing was left unsynced for too long. The time in which
// the disk itself kept everything waiting does not count.
func (c *committing) late() {
	most := c.interval
	if most == 0 {
		most = lazySync
	}
	if !c.since.IsZero() && time.Since(c.since) > most+300*time.Millisecond {
		c.fail("written %v ago and not synced", time.Since(c.since))
	}
}

// free is told what was released.
func (c *committing) free(shard int, turns uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed {
		c.fail("shard %d: turns up to %d released after the disk had failed", shard, turns)
	}
	if turns <= c.released[shard] || turns > uint64(len(c.shards[shard])) {
		c.fail("shard %d: turns up to %d released, before it were %d of %d", shard, turns, c.released[shard], len(c.shards[shard]))
		return
	}
	for _, w := range c.shards[shard][c.released[shard]:turns] {
		c.check(w)
	}
	c.released[shard] = turns
}

// check looks at a turn that was released.
func (c *committing) check(w *written) {
	there, how := c.applied, "applied"
	if w.urgent && c.interval == 0 {
		there, how = c.synced, "synced"
	}
	for _, on := range append([]*written{w}, w.after...) {
		if !there[on.changes()] || !there[on.finally()] {
			c.fail("turn %d released, and turn %d is not %s (changes %v, last changes %v)", w.n, on.n, how, there[on.changes()], there[on.finally()])
		}
	}
}

// run submits turns as shards do: each handles what others have posted to it,
// and posts to others or passes on what it got.
func (c *committing) run() {
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	go func() {
		c.store.Run(ctx)
		close(ended)
	}()
	inbox := make([][]*written, len(c.shards)) // turns whose messages wait for a shard
	n := 0
	for range 40 + c.rand.IntN(60) {
		n++
		c.submit(n, c.rand.IntN(len(c.shards)), inbox, true)
		if c.rand.IntN(3) == 0 {
			time.Sleep(time.Duration(c.rand.IntN(20_000)) * time.Microsecond)
		}
	}
	for shard := range inbox {
		n++
		c.submit(n, shard, inbox, false)
	}
	// A full disk has room again in 0.3 s; nothing takes longer than that.
	time.Sleep(time.Minute)
	c.mu.Lock()
	if !c.failed && !c.since.IsZero() {
		c.fail("something is not synced after a minute")
	}
	c.mu.Unlock()
	cancel()
	<-ended
	c.end()
}

// submit fills and submits a turn.
func (c *committing) submit(n, shard int, inbox [][]*written, posts bool) {
	c.mu.Lock()
	w := &written{n: n, t: c.store.Turn(), urgent: c.rand.IntN(2) == 0}
	w.t.Urgent = w.urgent
	w.t.Behind = c.rand.IntN(5) == 0
	w.behind = w.t.Behind
	w.t.changes.Set([]byte(w.changes()), nil)
	w.t.finally.Set([]byte(w.finally()), nil)
	took := len(inbox[shard])
	if posts {
		took = c.rand.IntN(took + 1)
	}
	var passed []*written
	for _, from := range inbox[shard][:took] {
		w.t.After = append(w.t.After, from.t)
		w.after, from.heirs = append(w.after, from), append(from.heirs, w)
		from.owed--
		if posts && len(inbox) > 1 && c.rand.IntN(5) == 0 {
			w.t.Passed = append(w.t.Passed, from.t)
			from.owed++
			passed = append(passed, from)
		}
	}
	inbox[shard] = inbox[shard][took:]
	for to := range inbox {
		if to == shard || !posts {
			continue
		}
		if len(passed) > 0 { // with a message of our own: the batch names us too
			inbox[to] = append(inbox[to], passed...)
		}
		if len(passed) > 0 || c.rand.IntN(3) == 0 {
			w.t.Awaits++
			w.owed++
			inbox[to] = append(inbox[to], w)
		}
		passed = nil
	}
	c.shards[shard] = append(c.shards[shard], w)
	c.mu.Unlock()
	c.store.Submit(shard, w.t)
}

// end looks at what is left.
func (c *committing) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed {
		if c.store.Err() == nil {
			c.fail("the disk has failed, and the store says that all is well")
		}
		return
	}
	if err := c.store.Err(); err != nil {
		c.fail("all is well, and the store says %v", err)
	}
	for shard, all := range c.shards {
		if c.released[shard] != uint64(len(all)) {
			c.fail("shard %d: %d of %d turns were released", shard, c.released[shard], len(all))
		}
	}
	if left := c.store.Backlog(); left != 0 {
		c.fail("%d bytes are left in the backlog", left)
	}
	if c.store.Stats().Syncs != uint64(c.syncs) {
		c.fail("%d syncs counted, %d done", c.store.Stats().Syncs, c.syncs)
	}
}

// TestInterval proves what the setting says: turns are released before they are
// synced, and a sync comes once for each interval in which something was
// written, not more often.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDisk()
		var free uint64
		var syncsBefore []int
		s := New(d, Config{Shards: 1, Interval: 100 * time.Millisecond, Committed: func(_ int, n uint64) {
			free = n
			syncsBefore = append(syncsBefore, d.syncs)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		for i := range 50 { // over half a second
			turn := s.Turn()
			turn.Urgent = true
			turn.PutSession(&Session{Number: uint64(i + 1)})
			s.Submit(0, turn)
			synctest.Wait()
			if free != uint64(i+1) {
				t.Fatalf("%d turns released of %d", free, i+1)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if syncsBefore[0] != 0 {
			t.Error("a turn waited for a sync")
		}
		synctest.Wait()
		if d.syncs < 4 || d.syncs > 5 {
			t.Errorf("%d syncs in half a second, one for 100 ms are wanted", d.syncs)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if len(d.synced) != 50 {
			t.Errorf("%d of 50 records are synced an interval later", len(d.synced))
		}
		syncs := d.syncs
		time.Sleep(time.Hour)
		synctest.Wait()
		if d.syncs != syncs {
			t.Errorf("%d syncs of nothing", d.syncs-syncs)
		}
		cancel()
		synctest.Wait()
	})
}

// TestGroupCommit proves that what is submitted while the disk is busy shares
// one sync.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDisk()
		d.hook = func(bool, []*Changes) error { time.Sleep(time.Millisecond); return nil }
		free := make([]uint64, 3)
		s := New(d, Config{Shards: 3, Committed: func(shard int, n uint64) { free[shard] = n }})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		submit := func(shard int) {
			turn := s.Turn()
			turn.Urgent = true
			s.Submit(shard, turn)
		}
		submit(0)
		synctest.Wait() // the disk is busy with it
		for i := range 300 {
			submit(i % 3)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if free[0]+free[1]+free[2] != 301 || d.syncs != 2 {
			t.Errorf("%v turns released with %d syncs, want 301 with 2", free, d.syncs)
		}
		cancel()
		synctest.Wait()
	})
}

// TestEndOfRun proves that what is submitted when Run ends is committed first.
func TestEndOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTestDisk()
		s := New(d, Config{Shards: 1})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		turn := s.Turn()
		turn.PutSession(&Session{Number: 1}) // nobody waits
		s.Submit(0, turn)
		s.Run(ctx)
		if len(d.synced) != 1 {
			t.Errorf("%d records synced, want 1", len(d.synced))
		}
	})
}
