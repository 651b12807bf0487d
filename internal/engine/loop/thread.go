package loop

import (
	"slices"
	"sync/atomic"
	"time"
)

// Thread is an event loop: it runs the shards whose tokens it holds. Except for
// the first group, nobody else uses it.
type Thread struct {
	inbox inbox
	idle  atomic.Bool // it has no shards and waits to be given some

	loop   *Loop
	index  int // 0: the first thread, which has all shards while it can
	poller Poller
	tally  Tally

	shards []*Shard      // whose tokens it holds
	run    []*Shard      // that are to get a turn
	spare  []*Shard      // becomes run
	now    time.Duration // when this turn began
	end    time.Duration // when the last turn ended

	window  window
	loan    loan    // not of the first thread
	balance balance // of the first thread
}

// maxPasses bounds the turns that shards can cause each other before the
// thread writes what they have sent and looks at its sockets.
const maxPasses = 8

// Now is when the turn began that is on. Its poller may call it, as the
// methods below.
func (t *Thread) Now() time.Duration { return t.now }

// End is when the last turn ended.
func (t *Thread) End() time.Duration { return t.end }

// Index is the number of the thread; the first one is 0.
func (t *Thread) Index() int { return t.index }

// Tally is where the poller counts.
func (t *Thread) Tally() *Tally { return &t.tally }

// Holds reports whether the thread holds the token of s. It doesn't yet while the
// token is under way to it: the shard isn't among its shards, and s.thread is
// the one that it comes from.
func (t *Thread) Holds(s *Shard) bool {
	return s.owner.Load() == t && s.thread == t
}

// push leaves a note and wakes the thread if it sleeps. Safe from any goroutine.
func (t *Thread) push(n note) {
	if t.inbox.put(n) {
		t.loop.counters.Wakeups.Add(1)
		t.poller.Wake()
	}
}

// Due returns until when the poller is to wait for input before the next Turn, and false if
// there is none because the loop ends. The poller only looks for input if that time is not
// later than End.
//
// From here on a note that is left calls Poller.Wake.
func (t *Thread) Due() (until time.Duration, ok bool) {
	if t.loop.stopping.Load() {
		return 0, false
	}
	if len(t.run) > 0 || !t.inbox.empty() {
		return 0, true
	}
	until = t.poller.Idle()
	if t.index > 0 && len(t.shards) > 0 {
		until = min(until, t.end+fanOutLoan)
	}
	for _, s := range t.shards {
		until = min(until, s.next)
	}
	t.inbox.asleep.Store(true)
	if !t.inbox.empty() || t.loop.stopping.Load() {
		until = 0
	}
	return until, true
}

// Turn is one turn of the thread, from what came while it waited to the output.
func (t *Thread) Turn() {
	t.inbox.asleep.Store(false)
	t.now = t.loop.clock.now()
	t.takeNotes()
	t.poller.Receive()
	for _, s := range t.shards {
		if s.next <= t.now {
			s.Schedule()
		}
	}
	t.runTurns()
	t.poller.Flush()
	t.loop.counters.add(&t.tally)
	t.end = t.loop.clock.now()
	t.adjust()
}

// takeNotes carries out the notes of the inbox.
func (t *Thread) takeNotes() {
	if t.inbox.empty() {
		return
	}
	notes := t.inbox.take()
	for _, n := range notes {
		if n.token {
			t.hold(n.s)
		}
		if owner := n.s.owner.Load(); owner != t {
			owner.push(n) // it was given away while the note was under way
			continue
		}
		if t.Holds(n.s) {
			n.s.Schedule()
		} // or else the token is still under way, with a turn
	}
	t.inbox.finish(notes)
}

// runTurns gives a turn to each shard that is to get one, and to those that they
// wake.
func (t *Thread) runTurns() {
	for pass := 0; len(t.run) > 0 && pass < maxPasses; pass++ {
		run := t.run
		t.run = t.spare[:0]
		share := t.maxOutput() >= fanOut
		for i := 0; i < len(run); i++ {
			if share {
				t.loan.lastFanOut = t.now
				run = append(run[:i], t.shareFanOut(run[i:])...)
				if i == len(run) {
					break
				}
			}
			s := run[i]
			s.queued = false
			t.tally.ShardTurns++
			s.signalled.Store(false) // before the mailbox is drained: see Loop.Wake
			s.next = s.conns.Turn(t.now)
			share = s.conns.Output() >= fanOut
		}
		t.spare = run
		t.takeNotes()
	}
}

// maxOutput is the number of connections with output in the shard that has
// the most.
func (t *Thread) maxOutput() int {
	n := 0
	for _, s := range t.shards {
		n = max(n, s.conns.Output())
	}
	return n
}

// hold takes the token of a shard that was given to this thread.
func (t *Thread) hold(s *Shard) {
	s.thread = t
	t.loan.lastFanOut = t.now
	t.window = window{begin: t.now}
	t.shards = append(t.shards, s)
	t.poller.Hold(s.index)
}

// give gives the token of s to another thread. Only the owner of a shard gives it
// away, and only between two calls of it.
//
// From here on s.owner is the other thread, and notes about s that arrive here
// are passed on. The other thread holds the token once it has read the note that
// carries it, which gives s a turn there.
func (t *Thread) give(s *Shard, to *Thread) {
	t.poller.Release(s.index)
	t.shards = slices.DeleteFunc(t.shards, func(x *Shard) bool { return x == s })
	s.queued = false
	t.loop.counters.Handovers.Add(1)
	s.owner.Store(to)
	to.push(note{s: s, token: true})
}

// takeIdle claims a thread without shards, or returns nil.
func (t *Thread) takeIdle() *Thread {
	for _, x := range t.loop.threads[1:] {
		if x.idle.Load() && x.idle.CompareAndSwap(true, false) {
			t.loop.counters.ThreadsBusy.Add(1)
			x.loan.recalled.Store(false)
			return x
		}
	}
	return nil
}

// shareFanOut gives shards that wait for their turn to idle threads, if what
// is to be sent already suggests that they will have much to send as well. It
// returns those that stay.
func (t *Thread) shareFanOut(waiting []*Shard) []*Shard {
	if len(waiting) < 2 {
		return waiting
	}
	free := 0
	for _, x := range t.loop.threads[1:] {
		if x.idle.Load() {
			free++
		}
	}
	share := (len(waiting) + 1) / (free + 1)
	for range free {
		to := t.takeIdle()
		if to == nil {
			break
		}
		to.loan.term.Store(0)
		for _, s := range waiting[len(waiting)-share:] {
			t.give(s, to)
		}
		waiting = waiting[:len(waiting)-share]
	}
	return waiting
}

// adjust lets the shards follow the load, at the end of each turn.
func (t *Thread) adjust() {
	switch {
	case t.index == 0:
		t.watchLoad()
	case len(t.shards) > 0 && t.loan.over(&t.window, t.now, t.end):
		t.returnShards()
	}
}

// returnShards gives all shards back to the first thread. Turns that they are to
// get, it gives them.
func (t *Thread) returnShards() {
	for len(t.shards) > 0 {
		t.give(t.shards[len(t.shards)-1], t.loop.threads[0])
	}
	t.run = t.run[:0]
	t.loan.recalled.Store(false)
	t.loop.counters.ThreadsBusy.Add(-1)
	t.idle.Store(true)
}

// watchLoad measures the first thread, and spreads its load while that is saturated.
func (t *Thread) watchLoad() {
	worked, elapsed, ended := t.window.add(t.now, t.end)
	if !ended {
		return
	}
	cpu := t.poller.Measured(worked, elapsed)
	if len(t.loop.threads) == 1 {
		return
	}
	try, recall := t.balance.measured(t.end, worked, elapsed, cpu, len(t.shards))
	if recall != nil {
		for _, to := range recall.to {
			to.loan.recalled.Store(true)
		}
	}
	if try != nil {
		t.spread(try)
	}
}

// spread shares the shards with an idle thread for each idle core.
func (t *Thread) spread(a *attempt) {
	for range min(a.cores, len(t.shards)-1) {
		if to := t.takeIdle(); to != nil {
			a.to = append(a.to, to)
		}
	}
	if len(a.to) == 0 {
		return
	}
	term := t.balance.begin(a, t.end)
	share := len(t.shards) / (len(a.to) + 1)
	for _, to := range a.to {
		to.loan.term.Store(int64(term))
		for _, s := range slices.Clone(t.shards[:share]) {
			t.give(s, to)
		}
	}
	t.run = slices.DeleteFunc(t.run, func(s *Shard) bool { return !t.Holds(s) })
}
