package hook

import (
	"sync"
	"time"
)

// breaker keeps questions from a service that fails: after some failures, one after the
// other, one question at a time finds out whether it answers again.
type breaker struct {
	failures   int
	retryAfter time.Duration

	mu      sync.Mutex
	count   int       // of failures since the last answer
	probing bool      // one question finds out
	next    time.Time // when the next one may
	warned  time.Time // when the last failure was logged
}

// change is what somebody ought to be told of.
type change uint8

const (
	nothing change = iota
	failed         // the first time in a while
	opened         // the service is unavailable from now on
	closed         // it answers again
)

// warnEvery is how often single failures are logged.
const warnEvery = 10 * time.Second

func (b *breaker) open() bool { return b.count >= b.failures }

// mayBeAsked reports whether a question has a chance now.
func (b *breaker) mayBeAsked(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open() || !b.probing && !now.Before(b.next)
}

// begin reports whether a question may be sent. If so, end must follow.
func (b *breaker) begin(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open() {
		return true
	}
	if b.probing || now.Before(b.next) {
		return false
	}
	b.probing = true
	return true
}

// end takes note of what came of a question. Those that were sent before the service became
// unavailable end in between, and count as well.
func (b *breaker) end(ok bool, now time.Time) change {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.open()
	b.probing = false
	if ok {
		b.count = 0
		if was {
			return closed
		}
		return nothing
	}
	b.count = min(b.count+1, b.failures)
	if b.open() {
		b.next = now.Add(b.retryAfter)
	}
	switch {
	case b.open() && !was:
		return opened
	case !was && now.Sub(b.warned) >= warnEvery:
		b.warned = now
		return failed
	}
	return nothing
}
