package store

import (
	"math"
	"time"
)

// timeline is the time of a data directory: what records hold. It goes on while
// a broker runs, however the time of day is set meanwhile, and from one broker
// to the next by the time between them, as far as that is known. It began as
// the time of day, in milliseconds since 1970.
type timeline struct {
	zero int64 // its time when the engine's clock shows 0
}

// stamp is a time of the engine's clock on the timeline; 0 stays 0.
func (l timeline) stamp(t time.Duration) uint64 {
	if t == 0 {
		return 0
	}
	return uint64(max(l.zero+t.Milliseconds(), 1))
}

// engine is the reverse of stamp.
func (l timeline) engine(stamp uint64) time.Duration {
	if stamp == 0 {
		return 0
	}
	const limit = math.MaxInt64 / int64(time.Millisecond)
	t := time.Duration(min(max(int64(min(stamp, 1<<53))-l.zero, -limit), limit)) * time.Millisecond
	if t == 0 {
		t = 1 // 0 would mean never
	}
	return t
}
