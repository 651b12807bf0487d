package store

import (
	"encoding/binary"
	"math"
	"time"
)

// Clock reads the clocks that there are, all at one moment. It is called by one
// goroutine at a time.
type Clock func() Reading

// Reading is what the clocks show at one moment.
type Reading struct {
	Engine time.Duration // the engine's clock, which begins with the process (engine.Runner.Now)
	Wall   time.Time     // the time of day, which may be wrong, and which anybody may set
	Boot   string        // names the start of the machine; "": unknown
	Up     time.Duration // the time since then, with that in which the machine slept
}

// NewClock returns a Clock that stands still, for tests of what lies above.
func NewClock(wall time.Time, now time.Duration) Clock {
	return func() Reading { return Reading{Engine: now, Wall: wall} }
}

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
	const most = math.MaxInt64 / int64(time.Millisecond)
	t := time.Duration(min(max(int64(min(stamp, 1<<53))-l.zero, -most), most)) * time.Millisecond
	if t == 0 {
		t = 1 // 0 would mean never
	}
	return t
}

// anchor ties the timeline to the other clocks: what they showed at one moment.
type anchor struct {
	at   uint64 // on the timeline
	wall uint64 // milliseconds since 1970
	boot string
	up   uint64 // milliseconds
}

func (l timeline) anchor(r Reading) anchor {
	return anchor{
		at: l.stamp(max(r.Engine, 1)), wall: uint64(max(r.Wall.UnixMilli(), 0)),
		boot: r.Boot, up: uint64(max(r.Up, 0).Milliseconds()),
	}
}

func (a *anchor) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, a.at)
	dst = binary.AppendUvarint(dst, a.wall)
	dst = appendString(dst, a.boot)
	return binary.AppendUvarint(dst, a.up)
}

func (a *anchor) decode(b []byte) error {
	r := reader{b: b}
	a.at, a.wall, a.boot, a.up = r.uvarint(), r.uvarint(), string(r.bytes()), r.uvarint()
	if a.at == 0 || a.at > 1<<53 {
		r.broken = true
	}
	return r.err()
}

var (
	// earliest is before the first broker with such records, in milliseconds
	// since 1970: a clock that shows less is wrong, as those of boards are that
	// have no battery until they have asked for the time.
	earliest = uint64(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())

	// mostDowntime is the longest downtime that is believed. A clock that was
	// set years ahead is likelier than a broker that was missed by nobody.
	mostDowntime = uint64((366 * 24 * time.Hour).Milliseconds())
)

// downtime is how long nothing ran since the anchor, in milliseconds: 0 if that
// can't be known, so that nothing ends too early.
func (a *anchor) downtime(now anchor) uint64 {
	if a.boot != "" && a.boot == now.boot && now.up >= a.up {
		return now.up - a.up
	}
	if a.wall < earliest || now.wall < a.wall || now.wall-a.wall > mostDowntime {
		return 0
	}
	return now.wall - a.wall
}

// begin returns the timeline of a broker that starts now. last is the anchor
// that the one before has left, nil if there is none.
func begin(now Reading, last *anchor) timeline {
	at := timeline{}.anchor(now)
	start := max(at.wall, earliest)
	if last != nil {
		start = last.at + last.downtime(at)
	}
	return timeline{zero: int64(start) - now.Engine.Milliseconds()}
}

// capped is when something that was there at the start ends: at some time, but no
// later than so many seconds after the start, for that is what was asked for. It
// makes a difference when the anchor was lost.
func (s *Store) capped(ends time.Duration, seconds uint32) time.Duration {
	if s.clock == nil {
		return ends
	}
	return min(ends, max(s.began+time.Duration(seconds)*time.Second, 1)) // 0 is never
}

// TimeOfDay is what the clocks on the wall show, or showed, at a time that was
// read by a Store without a Clock.
func (s *Store) TimeOfDay(t time.Duration) time.Time {
	return time.UnixMilli(t.Milliseconds() + s.ahead).UTC()
}

const (
	// anchorEvery is how often a busy store writes its anchor, with its next
	// batch, and idleEvery how often one that has nothing else to write.
	anchorEvery = time.Second
	idleEvery   = time.Minute

	// lookEvery is how often an idle store looks whether the time of day was
	// set, by more than a step.
	lookEvery = 10 * time.Second
	step      = time.Second
)

// anchored adds the anchor to changes if the last one is older than some time,
// or if the time of day was set since.
func (s *Store) anchored(c *Changes, older time.Duration) {
	if !s.ticking {
		return
	}
	r := s.clock()
	if d := s.last.set(r); d.Abs() > step {
		s.log.Info("the time of day was set; what expires does not follow", "by", d)
	} else if r.Engine-s.last.Engine < older {
		return
	}
	s.anchor(c, r)
}

func (s *Store) anchor(c *Changes, r Reading) {
	s.last, s.ticking = r, true
	a := s.times.anchor(r)
	c.Set(clockKey(nil), a.append(nil))
}

// set is by how much the time of day was set between two readings.
func (r Reading) set(later Reading) time.Duration {
	went := later.Engine - r.Engine
	if r.Boot != "" && later.Boot == r.Boot {
		went = later.Up - r.Up // it may have slept
	}
	return time.Duration(later.Wall.UnixMilli()-r.Wall.UnixMilli())*time.Millisecond - went
}

// look writes an anchor in a store that has nothing else to write. After a
// crash of the machine, the one before serves as well; there is no hurry, unless
// the time of day was set, or the store ends (older is 0).
func (s *Store) look(older time.Duration) {
	var c Changes
	before := s.last
	if s.anchored(&c, older); c.Len() == 0 || s.Failed() {
		return
	}
	sync := older == 0 || before.set(s.last).Abs() > step
	if err := s.backend.Commit(sync, &c); err != nil {
		s.fail(err)
	}
}
