package loop

import (
	"bytes"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// This file decides how many threads run the shards. The first thread runs
// them all while it can, because waking another one costs more than most
// messages. It gives shards to others for two reasons, and gets them back when
// the reason has passed:
//
//   - A large fan-out. Shards that have not begun their turn go to idle
//     threads, which send their part at the same time. They are back
//     some milliseconds after the last one.
//   - The first thread is saturated, gets the processor time that it asks for, and
//     there are cores without work. An even share of the shards goes to an idle
//     thread for each such core, for a term, or until it has little to do.
//     If that does not pay they are recalled, and the next attempt waits longer.

const (
	// fanOut connections with output in one shard are a large fan-out: to send
	// to them takes 2 ms, far more than to wake a thread (0.06 ms).
	fanOut = 256

	// fanOutLoan is how long another thread has shards after their last large
	// fan-out.
	fanOutLoan = 5 * time.Millisecond

	// windowTime is how long a thread measures itself at a time. After
	// saturatedWindows in a row with hardly a pause, others are to help.
	windowTime       = 50 * time.Millisecond
	saturatedWindows = 3

	// trial is how long a spread has to show that it pays, and terms and
	// pauses between attempts double from minTerm to maxTerm. Guesses.
	trial   = 250 * time.Millisecond
	minTerm = time.Second
	maxTerm = 64 * time.Second
)

// window measures how much a thread works.
type window struct{ begin, worked time.Duration }

// add adds a turn. When the window has ended, it returns what it was, and the
// next one begins.
func (w *window) add(begin, end time.Duration) (worked, elapsed time.Duration, ended bool) {
	w.worked += end - begin
	worked, elapsed = w.worked, end-w.begin
	if elapsed < windowTime {
		return 0, 0, false
	}
	*w = window{begin: end}
	return worked, elapsed, true
}

// loan is why a thread has shards of the first one, and until when.
type loan struct {
	recalled   atomic.Bool   // it must give them back
	term       atomic.Int64  // when it gives those back that it has for a term; 0: it has them for a fan-out
	lastFanOut time.Duration // in which it took part
}

// over reports whether the reason has passed at the end of a turn.
func (s *loan) over(w *window, begin, end time.Duration) bool {
	if s.recalled.Load() {
		return true
	}
	term := time.Duration(s.term.Load())
	if term == 0 {
		return end >= s.lastFanOut+fanOutLoan
	}
	if end >= term {
		return true
	}
	worked, elapsed, ended := w.add(begin, end)
	return ended && worked < elapsed/4
}

// balance decides whether other threads should take shards while the first one
// is saturated. That one uses it.
type balance struct {
	sample func() sample

	saturated int           // windows in a row
	first     sample        // in the first of them
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
	cores  int       // that are idle
	to     []*Thread // threads that got shards
	before float64   // bytes per nanosecond before it
	start  sample
}

// measured takes note of a window of the first thread, which has the given number
// of shards. It returns an attempt that is to be made, and one that is to be
// recalled; nil means none.
func (b *balance) measured(end, worked, elapsed, cpu time.Duration, shards int) (try, recall *attempt) {
	saturated := elapsed < 2*windowTime && worked >= elapsed*95/100 && cpu >= elapsed*90/100
	if b.attempt != nil {
		recall = b.judge(end, saturated)
	}
	if !saturated {
		b.saturated = 0
		if worked < elapsed/4 {
			b.length = 0
		}
		return nil, recall
	}
	if b.saturated++; b.saturated == 1 {
		b.first = b.sample()
		return nil, recall
	}
	if b.saturated < saturatedWindows || b.attempt != nil || end < b.notBefore || shards < 2 {
		return nil, recall
	}
	b.saturated = 0
	now := b.sample()
	took := now.at - b.first.at
	return &attempt{
		cores:  int((now.idle - b.first.idle + took/2) / took),
		before: float64(now.bytes-b.first.bytes) / float64(took),
		start:  now,
	}, recall
}

// begin takes note that an attempt is made at the end of a turn, and returns when
// the shards are to be back.
func (b *balance) begin(a *attempt, end time.Duration) (term time.Duration) {
	b.length = min(max(minTerm, 2*b.length), maxTerm)
	b.notBefore = end + b.length
	b.attempt = a
	return b.notBefore
}

// judge returns the attempt if it does not pay: the first thread is still
// saturated, and all together move hardly more than it did alone.
func (b *balance) judge(end time.Duration, saturated bool) *attempt {
	a := b.attempt
	if end-a.start.at < trial {
		return nil
	}
	b.attempt = nil
	now := b.sample()
	after := float64(now.bytes-a.start.bytes) / float64(now.at-a.start.at)
	if saturated && after < 1.1*a.before {
		return a
	}
	return nil
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
