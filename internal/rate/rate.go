// Package rate limits how often something happens: for one of whom there is a
// Bucket, or for many, each with a Bucket in a Table of bounded memory. It has no
// clock: times are spans since any beginning that the callers agree on, so that a
// wall clock that is set changes nothing.
//
// Files, from the bottom up: rate.go, table.go.
package rate

import (
	"math"
	"math/bits"
	"time"
)

// Limit is a token bucket: Burst events at once, and Events more in each Per of
// time. The zero value is no limit.
type Limit struct {
	Events int64
	Per    time.Duration
	Burst  int64 // 1 at least
}

// PerSecond is a limit of so many events a second, with those of burst at once, one
// at least. No events are no limit.
func PerSecond(events int64, burst time.Duration) Limit {
	if events == 0 {
		return Limit{}
	}
	return Limit{events, time.Second, max(1, int64(float64(events)*burst.Seconds()))}
}

// On reports whether there is a limit.
func (l Limit) On() bool { return l.Events > 0 }

// cost is the time in which so many events are given back.
func (l Limit) cost(events int64) time.Duration {
	hi, lo := bits.Mul64(uint64(events), uint64(l.Per))
	if hi >= uint64(l.Events) {
		return math.MaxInt64 / 4
	}
	t, _ := bits.Div64(hi, lo, uint64(l.Events))
	return time.Duration(min(t, math.MaxInt64/4))
}

// Bucket is what somebody has used of a limit: the time at which all of it is given
// back. The zero value has used nothing.
type Bucket time.Duration

// Wait is how long it takes until one more event is within the limit; 0: it is now.
func (b Bucket) Wait(l Limit, now time.Duration) time.Duration {
	if !l.On() {
		return 0
	}
	return max(0, time.Duration(b)-now-l.cost(l.Burst-1))
}

// Free is how many events are within the limit now.
func (b Bucket) Free(l Limit, now time.Duration) int64 {
	if !l.On() {
		return math.MaxInt64
	}
	used := max(0, time.Duration(b)-now)
	hi, lo := bits.Mul64(uint64(used), uint64(l.Events))
	if hi >= uint64(l.Per) {
		return 0
	}
	events, rest := bits.Div64(hi, lo, uint64(l.Per))
	if rest > 0 {
		events++
	}
	return max(0, l.Burst-int64(min(events, math.MaxInt64)))
}

// Take uses so many events up. They may be more than are within the limit: then the
// next ones wait for longer.
func (b *Bucket) Take(l Limit, events int64, now time.Duration) {
	if l.On() {
		*b = Bucket(min(max(time.Duration(*b), now)+l.cost(events), math.MaxInt64/2))
	}
}
