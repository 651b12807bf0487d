// Package store is what Midge keeps on disk: the records, their keys and their
// encoding, and the committer, which puts the work of all shards on disk with
// few syncs. docs/format/store.md describes the format.
//
// Where the bytes lie is the business of a Backend.
//
// Files, from the bottom up: backend.go, health.go, changes.go, encode.go, keys.go,
// clock.go, fetch.go, load.go, turn.go, store.go, audit.go.
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

// Store puts the turns of shards on disk, in batches, and reads messages back.
//
// One goroutine, that of Run, commits: everything that shards have submitted
// while it was busy goes into the next batch and is made durable by one sync.
// It then releases the turns to their shards, in order.
type Store struct {
	*Health

	backend  Backend
	clock    Clock // nil: times are durations since the timeline began
	times    timeline
	began    time.Duration // when Load did, on the engine's clock
	known    uint64        // messages up to this one were there then
	ahead    int64         // of the timeline, the time of day was by the last anchor, in milliseconds
	interval time.Duration
	log      *slog.Logger
	released func(shard int, turns uint64)

	seq     atomic.Uint64 // of the last message
	numbers atomic.Uint64 // of the last session
	backlog atomic.Int64  // bytes of what is submitted and not committed
	most    int64         // of them, before the store is busy
	stats   stats

	pool sync.Pool // of *buffers
	wake chan struct{}

	mu         sync.Mutex // guards what follows
	submitted  []*Turn
	turnNumber uint64 // of the last that was submitted
	retained   Changes
	lanes      []lane

	reads reads

	// Of the goroutine that commits:
	turns     []*Turn
	retaining Changes
	extra     Changes
	lists     []*Changes
	decided   []*Turn // complete if the batch that is being built is committed
	shares    map[uint64]int32
	unsynced  bool // something is applied and not synced
	last      Reading
	ticking   bool // last is there: the timeline goes on
}

// lane is what the committer knows of a shard.
type lane struct {
	submitted uint64  // turns
	taken     uint64  // of these, into a batch
	applied   uint64  // of these, committed
	released  uint64  // of these
	waiting   []*Turn // taken and not released, in order, from head on
	head      int
	decided   int // those before it are complete, or will be with this batch
}

// Config shapes a Store.
type Config struct {
	Shards int

	// Clock is what time it is, for a broker. nil is for tools: to them times
	// are durations since 1970, and nothing passes.
	Clock Clock

	// Interval, if positive, is how often what was written is synced; turns
	// are released before. 0 means a sync for each batch that somebody waits
	// for.
	Interval time.Duration

	// Backlog is how many bytes may wait for the disk before Busy tells so; 0 is
	// 16 MiB: what a slow disk takes in about a second.
	Backlog int64

	// Released is called on the committing goroutine with the number of turns
	// of a shard that are durable, counted from the start.
	Released func(shard int, turns uint64)

	// Health is what the backend reports to; nil is one that nobody reports to.
	Health *Health

	Log *slog.Logger // nil logs nothing
}

// lazySync is how long what nobody waits for may stay unsynced.
const lazySync = 200 * time.Millisecond

const mostBacklog = 16 << 20

// New returns a store on a backend. Load comes before everything else, then
// Run.
func New(b Backend, cfg Config) *Store {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		Health: cmp.Or(cfg.Health, &Health{}), backend: b, clock: cfg.Clock, interval: cfg.Interval, released: cfg.Released, log: cfg.Log,
		most: cmp.Or(cfg.Backlog, mostBacklog), wake: make(chan struct{}, 1), lanes: make([]lane, cfg.Shards), shares: map[uint64]int32{},
	}
	s.reads.init(s)
	return s
}

// NextSeq returns the number of a new message.
func (s *Store) NextSeq() uint64 { return s.seq.Add(1) }

// NextSession returns the number of a new session.
func (s *Store) NextSession() uint64 { return s.numbers.Add(1) }

// Backlog is the size of what waits for the disk, in bytes.
func (s *Store) Backlog() int64 { return s.backlog.Load() }

// Busy tells that so much waits for the disk that no more should come.
func (s *Store) Busy() bool { return s.backlog.Load() > s.most }

// Submit hands a turn over and returns its number, counted from 1 for each
// shard. It never waits.
func (s *Store) Submit(shard int, t *Turn) uint64 {
	t.shard = shard
	s.backlog.Add(t.size())
	s.mu.Lock()
	l := &s.lanes[shard]
	l.submitted++
	n := l.submitted
	s.turnNumber++
	t.number = s.turnNumber
	s.submitted = append(s.submitted, t)
	s.mu.Unlock()
	s.poke()
	return n
}

// poke makes Run look.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Retain writes a retained message. The caller holds the lock that orders the
// messages of a topic.
func (s *Store) Retain(m *message.Message) {
	s.retain(func(c *Changes) { c.Set(retainedKey(nil, m.Topic), appendMessage(nil, m, s.times)) })
}

// Unretain forgets the retained message of a topic, as Retain.
func (s *Store) Unretain(topic []byte) {
	s.retain(func(c *Changes) { c.Delete(retainedKey(nil, topic)) })
}

func (s *Store) retain(change func(*Changes)) {
	s.mu.Lock()
	before := s.retained.Size()
	change(&s.retained)
	s.backlog.Add(int64(s.retained.Size() - before))
	s.mu.Unlock()
	s.poke()
}

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
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-s.wake:
		case <-timer.C:
			s.Sync()
		case <-look.C:
			s.look(idleEvery)
		case <-ctx.Done():
			s.Step()
			s.look(0)
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
	s.take()
	if len(s.turns) == 0 && s.retaining.n == 0 || s.Failed() {
		return
	}
	urgent, size := s.build()
	sync := urgent && s.interval == 0
	began := time.Now()
	if err := s.backend.Commit(sync, s.lists...); err != nil {
		s.unsynced = false
		s.fail(fmt.Errorf("store: commit: %w", err))
		return
	}
	s.stats.add(sync, len(s.turns), time.Since(began))
	s.unsynced = !sync
	s.retaining.Reset()
	s.backlog.Add(-size)
	s.release()
	s.reads.again()
}

// take takes what is submitted.
func (s *Store) take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.turns)
	s.turns, s.submitted = s.submitted, s.turns[:0]
	s.retaining, s.retained = s.retained, s.retaining
	s.retained.Reset()
	for i := range s.lanes {
		s.lanes[i].taken = s.lanes[i].submitted
	}
	if s.Failed() {
		return
	}
	for _, t := range s.turns {
		l := &s.lanes[t.shard]
		l.waiting = append(l.waiting, t)
	}
}

// build gathers one batch: the changes of all turns in their order, and the
// last changes of those turns that it makes complete.
func (s *Store) build() (urgent bool, size int64) {
	s.extra.Reset()
	clear(s.lists)
	s.lists, s.decided = s.lists[:0], s.decided[:0]
	if s.retaining.n > 0 {
		s.lists = append(s.lists, &s.retaining)
		size += int64(s.retaining.Size())
	}
	for _, t := range s.turns {
		urgent = urgent || t.Urgent
		size += t.size()
		s.lists = append(s.lists, &t.changes)
		for _, sh := range t.sharing {
			s.shares[sh.seq] += int32(sh.n)
			s.settle(sh.seq)
		}
		for _, seq := range t.unshared {
			s.shares[seq]--
			s.settle(seq)
		}
		for _, p := range t.Passed {
			p.Awaits++
		}
		for _, a := range t.After {
			a.Urgent = a.Urgent || t.Urgent // t is not released before a is durable, all of it
			a.Awaits--
		}
		t.applied = true
	}
	for before := -1; before < len(s.decided); { // one that is decided may let others be
		before = len(s.decided)
		for i := range s.lanes {
			urgent = s.decide(&s.lanes[i]) || urgent
		}
	}
	s.anchored(&s.extra, anchorEvery)
	if s.extra.n > 0 {
		s.lists = append(s.lists, &s.extra)
	}
	return urgent, size
}

// settle deletes a shared message that no shard needs any more.
func (s *Store) settle(seq uint64) {
	if s.shares[seq] == 0 {
		delete(s.shares, seq)
		s.extra.Delete(messageKey(nil, message.NewKey(seq, partShards))) // a start may have set it more than once
	}
}

// decide completes those turns of a shard that await nothing more with this
// batch, and reports whether somebody waits for one. They complete in their
// order: a crash must not take back a message and leave a later one of its
// publisher (MQTT-4.6.0-5).
func (s *Store) decide(l *lane) (urgent bool) {
	for l.decided < len(l.waiting) {
		t := l.waiting[l.decided]
		if !t.applied || t.Awaits > 0 || t.Behind && s.undecidedBefore(t) {
			break
		}
		s.extra.Append(&t.finally)
		s.decided = append(s.decided, t)
		urgent = urgent || t.Urgent
		l.decided++
	}
	return urgent
}

// undecidedBefore tells whether a turn that was submitted before t awaits something.
func (s *Store) undecidedBefore(t *Turn) bool {
	for i := range s.lanes {
		if l := &s.lanes[i]; l.decided < len(l.waiting) && l.waiting[l.decided].number < t.number {
			return true
		}
	}
	return false
}

// release marks what the batch has completed, and tells the shards.
func (s *Store) release() {
	for _, t := range s.decided {
		t.complete = true
	}
	for i := range s.lanes {
		if n := s.releaseLane(i); n > 0 && s.released != nil {
			s.released(i, n)
		}
	}
}

// releaseLane returns the number of turns of a shard that are released, 0 if
// there are no more than before.
func (s *Store) releaseLane(shard int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lanes[shard]
	l.applied = l.taken
	before := l.released
	for l.head < len(l.waiting) && l.waiting[l.head].free() {
		s.recycle(l.waiting[l.head])
		l.waiting[l.head] = nil
		l.released++
		l.head++
	}
	if l.head > len(l.waiting)/2 {
		n := copy(l.waiting, l.waiting[l.head:])
		clear(l.waiting[n:])
		l.waiting, l.head, l.decided = l.waiting[:n], 0, l.decided-l.head
	}
	if l.released == before {
		return 0
	}
	return l.released
}

// appliedTurns is the number of turns of a shard that reads see.
func (s *Store) appliedTurns(shard int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[shard].applied
}

// free tells that a turn and all that it builds on are durable.
func (t *Turn) free() bool {
	if !t.complete {
		return false
	}
	for _, a := range t.After {
		if !a.complete {
			return false
		}
	}
	return true
}

// Sync makes durable what nobody waits for.
func (s *Store) Sync() {
	if !s.unsynced || s.Failed() {
		return
	}
	began := time.Now()
	if err := s.backend.Commit(true); err != nil {
		s.unsynced = false
		s.fail(fmt.Errorf("store: commit: %w", err))
		return
	}
	s.stats.add(true, 0, time.Since(began))
	s.unsynced = false
}

// fail ends all committing: nothing that is submitted will ever be released.
// Only the first call counts.
func (s *Store) fail(err error) {
	if !s.Health.fail(err) {
		return
	}
	s.log.Error("nothing can be made durable any more; repair the disk and restart", "error", err)
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
