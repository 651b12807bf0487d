//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// thread is an event loop: an operating-system thread that runs the shards
// whose tokens it holds. Except for the first group, nobody else uses it.
type thread struct {
	sleeping atomic.Bool  // it waits, or is about to; see Engine.Wake
	waiting  atomic.Int32 // len(inbox)
	mu       sync.Mutex   // guards inbox
	inbox    []note       // what other threads and goroutines want of it

	engine *Engine
	index  int
	top    int // epoll descriptor of its shards' epoll descriptors, listeners and efd
	efd    int // wakes it
	ring   *ring

	ringRefused bool // don't try again

	shards []*shard      // whose tokens it holds
	run    []*shard      // that are owed a turn
	spare  []*shard      // becomes run
	notes  []note        // becomes inbox
	now    time.Duration // when this turn began
	end    time.Duration // when the last turn ended
	shown  time.Duration // when show last did something
	rested time.Duration // when a wait of more than schedulerTurn last ended

	topEvents  []syscall.EpollEvent
	connEvents []syscall.EpollEvent
	read       *bufpool.Buffer // into which it reads sockets, Config.ReadBuffer bytes at once; see renewRead
	frontBytes int             // input kept for a connection is copied in front of new input up to this size
	arenas     [][]byte
	gather     gather
	name       syscall.RawSockaddrAny // scratch for socketName
	tally      tally
	listening
	following
	calm calm
}

// note asks a thread to give a shard a turn.
type note struct {
	s     *shard
	given bool // and to hold its token from now on
}

// tally holds what a thread counts in a turn, before it adds it to the
// engine's Counters.
type tally struct {
	shardTurns, receives, sends, batches, blocked, moves, bytesIn, bytesOut uint64
}

// The second word of an epoll event says what the first one numbers.
const (
	kindConn   int32 = iota // a connection of the slab
	kindShard               // a shard
	kindListen              // a listener
	kindWake                // nothing: the thread was woken
)

// maxPasses bounds the turns that shards can cause each other before the
// thread writes what they have sent and looks at its sockets.
const maxPasses = 8

func newThread(e *Engine, index int) (*thread, error) {
	t := &thread{
		engine:     e,
		index:      index,
		topEvents:  make([]syscall.EpollEvent, 64),
		connEvents: make([]syscall.EpollEvent, 256),
		read:       e.pool.Get(e.cfg.ReadBuffer),
		frontBytes: e.cfg.ReadBuffer / 4,
	}
	var err error
	if t.top, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if t.efd, err = eventfd(); err != nil {
		closeFD(t.top)
		return nil, err
	}
	// Edge-triggered, so that nobody has to read it.
	if err = control(t.top, syscall.EPOLL_CTL_ADD, t.efd, epollIn|epollET, 0, kindWake); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *thread) close() {
	if t.calm.gate != nil {
		t.calm.gate.Close()
	}
	closeFD(t.top)
	closeFD(t.efd)
}

// push leaves a note and wakes the thread if it sleeps.
//
// It sets waiting and then reads sleeping; the thread sets sleeping and then
// reads waiting. Atomics are sequentially consistent, so at least one of them
// sees the other: either the thread does not go to sleep, or push wakes it.
func (t *thread) push(n note) {
	t.mu.Lock()
	t.inbox = append(t.inbox, n)
	t.waiting.Store(int32(len(t.inbox)))
	t.mu.Unlock()
	if t.sleeping.Load() && t.sleeping.CompareAndSwap(true, false) {
		t.engine.counters.Wakeups.Add(1)
		signal(t.efd)
	}
}

// enqueue gives the shard a turn in this turn of the thread, or the next one.
func (t *thread) enqueue(s *shard) {
	if !s.queued {
		s.queued = true
		t.run = append(t.run, s)
	}
}

// loop runs the thread until the engine stops.
func (t *thread) loop() {
	runtime.LockOSThread() // and unlocked only by goCalm: the thread ends with the goroutine
	defer func() {
		if t.ring != nil {
			t.ring.close()
		}
	}()
	if t.calm.gate != nil {
		t.goCalm(0)
	}
	for !t.engine.stopping.Load() {
		n := t.wait()
		t.now = t.engine.Now()
		if t.now-t.end > schedulerTurn {
			t.rested = t.now
		}
		t.takeNotes()
		t.resumeAccepts()
		for i := range n {
			ev := &t.topEvents[i]
			switch ev.Pad {
			case kindShard:
				t.engine.shards[ev.Fd].ready()
			case kindListen:
				t.accept(t.engine.listeners[ev.Fd])
			}
		}
		for _, s := range t.shards {
			if s.due() <= t.now {
				t.enqueue(s)
			}
		}
		t.runTurns()
		t.flush()
		for _, s := range t.shards {
			s.release()
		}
		t.report()
		t.end = t.engine.Now()
		t.follow(t.end)
	}
}

// wait waits until there is something to do and returns the number of events
// in topEvents.
func (t *thread) wait() int {
	if len(t.run) > 0 || t.waiting.Load() > 0 {
		return pollEvents(t.top, t.topEvents)
	}
	due := t.listening.due()
	if t.index > 0 && len(t.shards) > 0 {
		due = t.end + stay
	}
	for _, s := range t.shards {
		due = min(due, s.due())
	}
	if !t.calm.on {
		t.show()
	}
	t.sleeping.Store(true)
	defer t.sleeping.Store(false)
	switch {
	case t.waiting.Load() > 0 || t.engine.stopping.Load() || due <= t.end:
		return pollEvents(t.top, t.topEvents)
	case t.calm.on:
		return t.waitCalmly(due)
	case due == engine.Never:
		return awaitEvents(t.top, t.topEvents, -1)
	}
	return awaitEvents(t.top, t.topEvents, int(min((due-t.end+time.Millisecond-1)/time.Millisecond, 1<<30)))
}

const (
	// schedulerTurn is how long Go's scheduler lets a goroutine run, and how long it
	// leaves a processor to one that waits.
	schedulerTurn = 10 * time.Millisecond

	// showEvery and showAfter bound what show costs. Guesses.
	showEvery = schedulerTurn / 2
	showAfter = 5 * schedulerTurn
)

// show lets the scheduler see that the loop doesn't run all the time. If it saw
// the same goroutine on a processor for a turn, also one that waits most of it,
// its monitor would take the processor away in each wait, and so be awake for
// each message: at 1,000 messages a second it took a third of the broker's time.
//
// A locked thread needs two switches for it, hence not in each wait. And not
// while some waits are longer than a turn: the monitor takes the processor away
// in those anyhow, and the later it does the longer it is awake.
func (t *thread) show() {
	if t.end-t.rested > showAfter && t.end-t.shown > showEvery {
		runtime.Gosched()
		t.shown = t.end
	}
}

// takeNotes reads the inbox.
func (t *thread) takeNotes() {
	if t.waiting.Load() == 0 {
		return
	}
	t.mu.Lock()
	notes := t.inbox
	t.inbox = t.notes[:0]
	t.waiting.Store(0)
	t.mu.Unlock()
	for _, n := range notes {
		if n.given {
			t.hold(n.s)
		}
		if owner := n.s.owner.Load(); owner != t {
			owner.push(n) // it was given away while the note was under way
			continue
		}
		if t.holds(n.s) {
			t.enqueue(n.s)
		} // or else the token is still under way, with a turn
	}
	clear(notes)
	t.notes = notes
}

// runTurns gives a turn to each shard that is owed one, and to those that they
// wake.
func (t *thread) runTurns() {
	for pass := 0; len(t.run) > 0 && pass < maxPasses; pass++ {
		run := t.run
		t.run = t.spare[:0]
		share := t.largestOutput() >= fanOut
		for i := 0; i < len(run); i++ {
			if share {
				t.lastFanOut = t.now
				run = append(run[:i], t.shareFanOut(run[i:])...)
				if i == len(run) {
					break
				}
			}
			s := run[i]
			s.queued = false
			s.turn(t.now)
			share = len(s.dirty) >= fanOut
		}
		t.spare = run
		t.takeNotes()
	}
}

// largestOutput is the number of connections with output in the shard that has
// the most.
func (t *thread) largestOutput() int {
	n := 0
	for _, s := range t.shards {
		n = max(n, len(s.dirty))
	}
	return n
}

// report adds what was counted in this turn to the engine's counters.
func (t *thread) report() {
	c, n := &t.engine.counters, &t.tally
	c.Turns.Add(1)
	add := func(to *atomic.Uint64, n *uint64) {
		if *n > 0 {
			to.Add(*n)
			*n = 0
		}
	}
	add(&c.ShardTurns, &n.shardTurns)
	add(&c.Receives, &n.receives)
	add(&c.BytesIn, &n.bytesIn)
	add(&c.Sends, &n.sends)
	add(&c.BytesOut, &n.bytesOut)
	add(&c.Batches, &n.batches)
	add(&c.Blocked, &n.blocked)
	add(&c.Moves, &n.moves)
}

// holds tells that the thread holds the token of s. It doesn't yet while the
// token is under way to it: the shard isn't among its shards, and s.thread is
// the one that it comes from.
func (t *thread) holds(s *shard) bool {
	return s.owner.Load() == t && s.thread == t
}

// hold takes the token of a shard that was given to this thread.
func (t *thread) hold(s *shard) {
	s.thread = t
	t.lastFanOut = t.now
	t.begin, t.busy = t.now, 0
	t.shards = append(t.shards, s)
	if err := control(t.top, syscall.EPOLL_CTL_ADD, s.ep, epollIn, int32(s.index), kindShard); err != nil {
		panic("epoll: add shard to thread: " + err.Error()) // two descriptors of ours
	}
}
