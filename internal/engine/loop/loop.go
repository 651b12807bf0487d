// Package loop is what engines with event loops share: threads, the tokens of
// shards and how they travel between threads, wake-ups and posted calls, how
// threads share the load, and the memory for the output of a turn. An engine gives
// it a Poller for each thread and Conns for each shard, as package epoll does.
//
// It knows no network, and no bytes but those of the arena. See package engine
// for shards and turns, and docs/design/engine.md for which half of an engine
// does what.
//
// Files, from the bottom up: slab.go, arena.go, counters.go, clock.go, inbox.go,
// poller.go, shard.go, balance.go, thread.go, loop.go.
package loop

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Loop runs shards on threads. It is most of an engine.Runner.
type Loop struct {
	clock    clock
	threads  []*Thread
	shards   []*Shard
	counters Counters

	running  sync.WaitGroup // threads
	stopping atomic.Bool
	ended    atomic.Bool // Run has closed everything
	late     atomic.Bool // somebody runs posts that came after that
}

// New returns a loop without threads and shards. Its clock begins.
func New() *Loop { return &Loop{clock: clock{time.Now()}} }

// AddThread adds a thread. Add all threads before the first shard, and all
// shards before Run.
func (l *Loop) AddThread(p Poller) *Thread {
	t := &Thread{loop: l, index: len(l.threads), poller: p}
	t.balance.sample = func() sample {
		return sample{l.Now(), l.counters.BytesIn.Load() + l.counters.BytesOut.Load(), idleTime()}
	}
	l.threads = append(l.threads, t)
	return t
}

// AddShard adds a shard. The first thread holds its token, and its first turn
// is due.
func (l *Loop) AddShard(c Conns) *Shard {
	s := &Shard{index: len(l.shards), conns: c}
	l.shards = append(l.shards, s)
	s.owner.Store(l.threads[0])
	return s
}

// Counters are updated once in each turn. Safe from any goroutine.
func (l *Loop) Counters() *Counters { return &l.counters }

// Now is the clock of the loop; see engine.Runner. Safe from any goroutine.
func (l *Loop) Now() time.Duration { return l.clock.now() }

// Time converts what the clock of the loop shows.
func (l *Loop) Time(at time.Duration) time.Time { return l.clock.start.Add(at) }

// Wake makes a shard get a turn soon; see engine.Runner.
//
// No wake-up is lost. The caller has put its work into the shard's mailbox
// before. If it finds signalled set, then a turn is pending that has not begun:
// the thread clears signalled before the shard drains its mailbox, so that
// drain sees the work. If it sets signalled itself, it leaves a note with the
// thread that holds the token. If that thread has given the shard away
// meanwhile, it passes the note on to the next owner, and every owner gives a
// turn to a shard that it is given or reminded of. See inbox.put for why the
// note wakes a thread that sleeps.
func (l *Loop) Wake(shard int) {
	s := l.shards[shard]
	if !s.signalled.Swap(true) {
		s.owner.Load().push(note{s: s})
	}
	if l.ended.Load() {
		l.runLatePosts()
	}
}

// Post makes the thread of a shard call f in the next turn; see engine.Runner.
// After Run has ended, f is called before Post returns, or by another Post
// that is on.
func (l *Loop) Post(shard int, f func()) {
	l.shards[shard].post(f)
	l.Wake(shard)
}

// Run runs the threads until ctx is cancelled. Then it calls finish, which
// closes all connections: no thread runs any more, and the first one holds all
// tokens. It can be called once.
func (l *Loop) Run(ctx context.Context, finish func()) {
	first := l.threads[0]
	for _, s := range l.shards {
		first.hold(s)
	}
	l.counters.ThreadsBusy.Store(1)
	for i, t := range l.threads {
		t.idle.Store(i > 0)
		l.running.Go(func() { t.poller.Run() })
	}
	<-ctx.Done()
	l.stopping.Store(true)
	for _, t := range l.threads {
		t.poller.Wake()
	}
	l.running.Wait()
	l.gather()
	finish()
	l.counters.add(&first.tally)
	l.ended.Store(true)
	l.runLatePosts()
}

// gather gives all tokens to the first thread.
func (l *Loop) gather() {
	first := l.threads[0]
	first.run = nil
	first.shards = append(first.shards[:0], l.shards...)
	for _, s := range l.shards {
		s.thread, s.queued = first, false
		s.owner.Store(first)
	}
}

// runLatePosts calls what was posted after the end, one at a time.
func (l *Loop) runLatePosts() {
	for l.latePosts() && l.late.CompareAndSwap(false, true) {
		for _, s := range l.shards {
			for _, f := range s.Posts() {
				f()
			}
		}
		l.late.Store(false)
	}
}

// latePosts reports whether there are any.
func (l *Loop) latePosts() bool {
	for _, s := range l.shards {
		if s.posted() {
			return true
		}
	}
	return false
}
