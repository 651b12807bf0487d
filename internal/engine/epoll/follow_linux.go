//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// This file decides how many threads run the shards. One thread, home, runs
// them all while it can, because waking another one costs more than most
// messages. Shards leave home for two reasons, and go back when it has passed:
//
//   - A large fan-out. Shards that have not begun their turn go to idle
//     threads, which send their part at the same time. They are back
//     some milliseconds after the last one.
//   - Home is saturated, gets the processor time that it asks for, and there are
//     cores without work. An even share of the shards goes to an idle thread
//     for each such core, for a term, or until it has little to do.
//     If that does not pay they are recalled, and the next attempt waits longer.
//
// Only the owner of a shard gives it away, and only between two calls of it.

const (
	// fanOut connections with output in one shard are a large fan-out: to send
	// to them takes 2 ms, far more than to wake a thread (0.06 ms).
	fanOut = 256

	// stay is how long shards stay away after their last large fan-out.
	stay = 5 * time.Millisecond

	// window is how long home measures itself at a time, and hotWindows of
	// them in a row mean that it is saturated.
	window     = 50 * time.Millisecond
	hotWindows = 2

	// trial is how long a spread has to show that it pays, and terms and
	// pauses between attempts double from minTerm to maxTerm. Guesses.
	trial   = 250 * time.Millisecond
	minTerm = time.Second
	maxTerm = 64 * time.Second
)

// following is a thread's part in following the load.
type following struct {
	idle     atomic.Bool  // it has no shards and waits to be given some
	recalled atomic.Bool  // it must give back what it has
	term     atomic.Int64 // when it gives back what it was given for a term; 0 after a fan-out

	lastFanOut  time.Duration
	begin, busy time.Duration // begin of the window that is on, and busy time in it

	// Of home only.
	cpu       time.Duration // processor time so far, at the last busy window
	hot       int           // saturated windows in a row
	first     sample        // taken when hot became 1
	attempt   *attempt      // that has to show that it pays; or nil
	notBefore time.Duration // no attempt before
	length    time.Duration // of the last term
}

// sample is what an attempt is judged by.
type sample struct {
	at    time.Duration
	bytes uint64        // moved by all threads so far
	idle  time.Duration // that all cores have been idle so far
}

// attempt is a spread that has to show that it pays.
type attempt struct {
	to     []*thread
	before float64 // bytes per nanosecond before it
	start  sample
}

// takeIdle claims a thread without shards, or returns nil.
func (e *Engine) takeIdle() *thread {
	for _, t := range e.threads[1:] {
		if t.idle.Load() && t.idle.CompareAndSwap(true, false) {
			e.counters.ThreadsBusy.Add(1)
			t.recalled.Store(false)
			return t
		}
	}
	return nil
}

// give gives the token of s to another thread. No call of s is on.
//
// From here on s.owner is the other thread, and notes about s that arrive here
// are passed on. The other thread holds the token once it has read the note that
// carries it, which gives s a turn there.
func (t *thread) give(s *shard, to *thread) {
	if err := control(t.top, syscall.EPOLL_CTL_DEL, s.ep, 0, 0, 0); err != nil {
		panic("epoll: take shard from thread: " + err.Error()) // two descriptors of ours
	}
	t.shards = slices.DeleteFunc(t.shards, func(x *shard) bool { return x == s })
	s.queued = false
	t.engine.counters.Handovers.Add(1)
	s.owner.Store(to)
	to.push(note{s: s, given: true})
}

// shareFanOut gives shards that wait for their turn to idle threads, if what
// is to be sent already suggests that they will have much to send as well. It
// returns those that stay.
func (t *thread) shareFanOut(waiting []*shard) []*shard {
	if len(waiting) < 2 {
		return waiting
	}
	free := 0
	for _, x := range t.engine.threads[1:] {
		if x.idle.Load() {
			free++
		}
	}
	share := (len(waiting) + 1) / (free + 1)
	for range free {
		to := t.engine.takeIdle()
		if to == nil {
			break
		}
		to.term.Store(0)
		for _, s := range waiting[len(waiting)-share:] {
			t.give(s, to)
		}
		waiting = waiting[:len(waiting)-share]
	}
	return waiting
}

// follow runs at the end of each turn. end is the time.
func (t *thread) follow(end time.Duration) {
	switch {
	case t.index == 0:
		t.watchHome(end)
	case len(t.shards) > 0 && t.timeToReturn(end):
		t.goHome()
	}
}

// timeToReturn tells whether the reason for which shards left home has passed.
func (t *thread) timeToReturn(end time.Duration) bool {
	f := &t.following
	if f.recalled.Load() {
		return true
	}
	term := time.Duration(f.term.Load())
	if term == 0 {
		return end >= f.lastFanOut+stay
	}
	if end >= term {
		return true
	}
	f.busy += end - t.now
	elapsed := end - f.begin
	if elapsed < window {
		return false
	}
	little := f.busy < elapsed/4
	f.begin, f.busy = end, 0
	return little
}

// goHome gives all shards back. What they are owed, home gives them.
func (t *thread) goHome() {
	e := t.engine
	for len(t.shards) > 0 {
		t.give(t.shards[len(t.shards)-1], e.threads[0])
	}
	t.run = t.run[:0]
	t.recalled.Store(false)
	e.counters.ThreadsBusy.Add(-1)
	t.idle.Store(true)
}

// watchHome measures home. It makes it calm or busy, and spreads its load when
// it is saturated.
func (t *thread) watchHome(end time.Duration) {
	f := &t.following
	f.busy += end - t.now
	elapsed := end - f.begin
	if elapsed < window {
		return
	}
	t.settleDown(end, f.busy, elapsed)
	saturated := elapsed < 2*window && f.busy >= elapsed*95/100
	if saturated {
		cpu := threadTime()
		saturated = cpu-f.cpu >= elapsed*90/100
		f.cpu = cpu
	}
	quiet := f.busy < elapsed/4
	f.begin, f.busy = end, 0
	if len(t.engine.threads) == 1 {
		return
	}
	if f.attempt != nil {
		t.judge(end, saturated)
	}
	if !saturated {
		f.hot = 0
		if quiet {
			f.length = 0
		}
		return
	}
	if f.hot++; f.hot == 1 {
		f.first = t.engine.sample()
		return
	}
	if f.hot <= hotWindows || f.attempt != nil || end < f.notBefore || len(t.shards) < 2 {
		return
	}
	t.spread(end)
	f.hot = 0
}

// spread shares the shards with an idle thread for each idle core.
func (t *thread) spread(end time.Duration) {
	f := &t.following
	now := t.engine.sample()
	elapsed := now.at - f.first.at
	cores := int((now.idle - f.first.idle + elapsed/2) / elapsed)
	a := &attempt{before: float64(now.bytes-f.first.bytes) / float64(elapsed), start: now}
	for range min(cores, len(t.shards)-1) {
		if to := t.engine.takeIdle(); to != nil {
			a.to = append(a.to, to)
		}
	}
	if len(a.to) == 0 {
		return
	}
	f.length = min(max(minTerm, 2*f.length), maxTerm)
	f.notBefore = end + f.length
	f.attempt = a
	share := len(t.shards) / (len(a.to) + 1)
	for _, to := range a.to {
		to.term.Store(int64(f.notBefore))
		for _, s := range slices.Clone(t.shards[:share]) {
			t.give(s, to)
		}
	}
	t.run = slices.DeleteFunc(t.run, func(s *shard) bool { return !t.holds(s) })
}

// judge recalls the shards of an attempt that does not pay: home is still
// saturated, and both together move hardly more than home alone.
func (t *thread) judge(end time.Duration, saturated bool) {
	f := &t.following
	a := f.attempt
	if end-a.start.at < trial {
		return
	}
	f.attempt = nil
	now := t.engine.sample()
	after := float64(now.bytes-a.start.bytes) / float64(now.at-a.start.at)
	if saturated && after < 1.1*a.before {
		for _, to := range a.to {
			to.recalled.Store(true)
		}
	}
}

// sample measures what attempts are judged by.
func (e *Engine) sample() sample {
	return sample{e.Now(), e.counters.BytesIn.Load() + e.counters.BytesOut.Load(), idleTime()}
}

// threadTime is the processor time that the calling thread has had.
func threadTime() time.Duration {
	const clockThreadCPU = 3
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// idleTime is the time that all cores of the system together have been idle,
// to 10 ms; 0 where /proc does not tell, so that nothing is spread there.
func idleTime() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	// cpu user nice system idle iowait ..., see proc_stat(5)
	fields := bytes.Fields(line)
	if len(fields) < 5 {
		return 0
	}
	ticks, _ := strconv.ParseInt(string(fields[4]), 10, 64)
	return time.Duration(ticks) * 10 * time.Millisecond
}
