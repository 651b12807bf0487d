// Package store is what Midge has on disk: the records, their keys and their
// encoding, and the committer, which puts the changes of all shards on disk with
// few syncs. docs/format/store.md describes the format.
//
// A Backend decides where the bytes are.
//
// Files, from the bottom up:
//
//   - what others give: health.go, backend.go;
//   - records: timeline.go, changes.go (what a commit does), keys.go, encode.go,
//     clock.go, turn.go (what a shard changes);
//   - the committer: sequence.go (which turns are complete), batch.go, inbox.go,
//     pacer.go (when to commit), fetch.go (reads messages), store.go;
//   - the start, and tools: load.go, audit.go.
package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/message"
)

// Store commits the turns of shards, in batches, and reads messages back.
//
// One goroutine, that of Run, is the committer: everything that shards have
// submitted while it was busy goes into the next batch and is made durable by one
// sync. Then it reports the turns to their shards as committed, in order.
type Store struct {
	*Health

	backend   Backend
	interval  time.Duration
	log       *slog.Logger
	committed func(shard int, turns uint64)

	seq        atomic.Uint64 // of the last message
	numbers    atomic.Uint64 // of the last session
	backlog    atomic.Int64  // bytes of what is submitted and not committed
	maxBacklog int64         // of them, before the store is busy
	stats      stats

	buffers sync.Pool // of *buffers
	inbox   inbox
	wake    chan struct{} // has an item when something is in the inbox
	reads   reads

	// Of the committer, and of Load before it:
	clock    clock
	batch    batch
	sequence sequence
	refs     references
	pacer    pacer
	unsynced bool // something is applied and not synced
}

// Config shapes a Store.
type Config struct {
	Shards int

	// Clock is what time it is, for a broker. nil is for tools: to them times
	// are durations since 1970, and nothing passes.
	Clock Clock

	// Interval, if positive, is how often what was written is synced; turns
	// count as committed before. 0 means a sync for each batch that somebody
	// waits for.
	Interval time.Duration

	// Backlog is how many bytes may wait for the disk before the store is Busy;
	// 0 is 16 MiB: what a slow disk takes in about a second.
	Backlog int64

	// Committed is called by the committer with the number of turns of a shard that
	// are committed, counted from the start.
	Committed func(shard int, turns uint64)

	// Health is what the backend reports to; nil is one that nobody reports to.
	Health *Health

	Log *slog.Logger // nil logs nothing
}

// lazySync is how long what nobody waits for may stay unsynced.
const lazySync = 200 * time.Millisecond

// defaultBacklog is Config.Backlog where that is 0.
const defaultBacklog = 16 << 20

// New returns a store on a backend. Load comes before everything else, then
// Run.
func New(b Backend, cfg Config) *Store {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		Health: cmp.Or(cfg.Health, &Health{}), backend: b, interval: cfg.Interval, committed: cfg.Committed, log: cfg.Log,
		maxBacklog: cmp.Or(cfg.Backlog, defaultBacklog),
		inbox:      inbox{counts: make([]uint64, cfg.Shards)},
		wake:       make(chan struct{}, 1),
		clock:      clock{read: cfg.Clock, log: cfg.Log},
		batch:      batch{counts: make([]uint64, cfg.Shards)},
		sequence:   newSequence(cfg.Shards),
		refs:       references{},
	}
	s.reads.init(s.backend, s.Health, &s.clock, s.sequence.applied, s.fail)
	return s
}

// NextSeq returns the number of a new message.
func (s *Store) NextSeq() uint64 { return s.seq.Add(1) }

// NextSession returns the number of a new session.
func (s *Store) NextSession() uint64 { return s.numbers.Add(1) }

// TimeOfDay is what the clocks on the wall show, or showed, at a time that was
// read by a Store without a Clock.
func (s *Store) TimeOfDay(t time.Duration) time.Time { return s.clock.timeOfDay(t) }

// Backlog is the size of what waits for the disk, in bytes.
func (s *Store) Backlog() int64 { return s.backlog.Load() }

// Busy reports whether so much waits for the disk that no more should come.
func (s *Store) Busy() bool { return s.backlog.Load() > s.maxBacklog }

// Turn returns an empty turn for a shard to fill.
func (s *Store) Turn() *Turn {
	b, ok := s.buffers.Get().(*buffers)
	if !ok {
		b = &buffers{}
	}
	return &Turn{buffers: b, times: s.clock.times}
}

// Submit hands a turn over and returns its number, counted from 1 for each
// shard. It never waits.
func (s *Store) Submit(shard int, t *Turn) uint64 {
	s.backlog.Add(t.size())
	n := s.inbox.submit(shard, t)
	s.signal()
	return n
}

// Retain writes a retained message. The caller holds the lock that orders the
// messages of a topic.
func (s *Store) Retain(m *message.Message) {
	s.retain(func(c *Changes) { c.Set(retainedKey(nil, m.Topic), appendMessage(nil, m, s.clock.times)) })
}

// Unretain deletes the retained message of a topic, as Retain.
func (s *Store) Unretain(topic []byte) {
	s.retain(func(c *Changes) { c.Delete(retainedKey(nil, topic)) })
}

func (s *Store) retain(change func(*Changes)) {
	s.backlog.Add(s.inbox.retain(change))
	s.signal()
}

// signal makes Run look into the inbox.
func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Fetch reads messages, in the background if Run runs.
func (s *Store) Fetch(f *Fetch) { s.reads.add(f) }

// StepReads answers all fetches that can be answered. Tests call it in place
// of Run.
func (s *Store) StepReads() { s.reads.step() }

// Run commits and reads until ctx is cancelled; what is submitted by then is
// committed first, unless the disk does not take it.
func (s *Store) Run(ctx context.Context) {
	var reading sync.WaitGroup
	for range readers {
		reading.Go(s.reads.run)
	}
	defer reading.Wait()
	defer s.reads.end()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	clocks := time.NewTicker(clockEvery)
	defer clocks.Stop()
	for {
		if wait := s.pacer.wait(time.Now()); wait > 0 {
			time.Sleep(wait) // before it waits for turns: they wake it but once
		}
		select {
		case <-s.wake:
		case <-timer.C:
			s.Sync()
		case <-clocks.C:
			s.writeAnchor(idleAnchorEvery)
		case <-ctx.Done():
			s.Step()
			s.writeAnchor(0)
			s.Sync()
			return
		}
		before := s.unsynced
		s.Step()
		if s.unsynced && !before {
			timer.Reset(s.syncAfter())
		}
		select {
		case <-timer.C: // shards that submit without a pause do not put it off
			s.Sync()
		default:
		}
	}
}

// syncAfter is how long applied changes may stay unsynced.
func (s *Store) syncAfter() time.Duration {
	if s.interval > 0 {
		return s.interval
	}
	return lazySync
}

// Step commits what is submitted, once. Run calls it; tests do so themselves.
func (s *Store) Step() {
	b := &s.batch
	s.inbox.take(b)
	if b.isEmpty() || s.Failed() {
		return
	}
	s.sequence.add(b.turns)
	b.build(&s.sequence, s.refs, &s.clock)
	sync := b.urgent && s.interval == 0
	began := time.Now()
	if !s.commit(sync, b.lists...) {
		return
	}
	ended := time.Now()
	if sync {
		s.pacer.committed(began, ended, b.awaited)
	}
	s.stats.add(sync, len(b.turns), ended.Sub(began))
	s.unsynced = !sync
	b.retained.Reset()
	s.backlog.Add(-b.size)
	s.sequence.apply(b.counts)
	for shard := range b.counts {
		if n := s.sequence.commit(shard, s.recycle); n > 0 && s.committed != nil {
			s.committed(shard, n)
		}
	}
	s.reads.retry()
}

// recycle takes the memory of a committed turn back. The rest of it stays for
// those that name it in After.
func (s *Store) recycle(t *Turn) { s.buffers.Put(t.release()) }

// Sync makes durable what nobody waits for.
func (s *Store) Sync() {
	if !s.unsynced || s.Failed() {
		return
	}
	began := time.Now()
	if s.commit(true) {
		s.stats.add(true, 0, time.Since(began))
		s.unsynced = false
	}
}

// writeAnchor writes the anchor of the clock in a store that has nothing else to
// write, if the last one is older than some time. After a crash of the machine,
// the one before serves as well; there is no hurry, unless the time of day was
// set, or the store ends (older is 0).
func (s *Store) writeAnchor(older time.Duration) {
	var c Changes
	set := s.clock.tick(&c, older)
	if c.Len() == 0 || s.Failed() {
		return
	}
	s.commit(older == 0 || set, &c)
}

// commit has the backend commit. It reports whether that worked; otherwise the
// store has failed.
func (s *Store) commit(sync bool, lists ...*Changes) bool {
	err := s.backend.Commit(sync, lists...)
	if err != nil {
		s.unsynced = false
		s.fail(fmt.Errorf("store: commit: %w", err))
	}
	return err == nil
}

// fail ends all committing: nothing that is submitted becomes durable any more.
// Only the first call counts.
func (s *Store) fail(err error) {
	if s.Health.fail(err) {
		s.log.Error("nothing can be made durable any more; repair the disk and restart", "error", err)
	}
}

// Stats are what a store has done.
type Stats struct {
	Batches  uint64        // committed
	Syncs    uint64        // of the disk
	Turns    uint64        // of shards, in all batches
	LastSync time.Duration // how long the last batch with a sync took
	Backlog  int64         // bytes that wait for the disk now
}

type stats struct {
	batches, syncs, turns atomic.Uint64
	lastSync              atomic.Int64
}

func (s *stats) add(sync bool, turns int, took time.Duration) {
	s.batches.Add(1)
	s.turns.Add(uint64(turns))
	if sync {
		s.syncs.Add(1)
		s.lastSync.Store(int64(took))
	}
}

// Stats returns what the store has done.
func (s *Store) Stats() Stats {
	return Stats{
		Batches: s.stats.batches.Load(), Syncs: s.stats.syncs.Load(), Turns: s.stats.turns.Load(),
		LastSync: time.Duration(s.stats.lastSync.Load()), Backlog: s.backlog.Load(),
	}
}
