package store

import (
	"encoding/binary"
	"log/slog"
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

// setBy is by how much the time of day was set between two readings.
func (r Reading) setBy(later Reading) time.Duration {
	passed := later.Engine - r.Engine
	if r.Boot != "" && later.Boot == r.Boot {
		passed = later.Up - r.Up // it may have slept
	}
	return time.Duration(later.Wall.UnixMilli()-r.Wall.UnixMilli())*time.Millisecond - passed
}

// anchor ties the timeline to the other clocks: what they showed at one moment.
type anchor struct {
	at   uint64 // on the timeline
	wall uint64 // milliseconds since 1970
	boot string
	up   uint64 // milliseconds
}

func newAnchor(l timeline, r Reading) anchor {
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

	// maxDowntime is the longest downtime that is believed. A clock that was set
	// years ahead is likelier than a broker that nobody missed.
	maxDowntime = uint64((366 * 24 * time.Hour).Milliseconds())
)

// downtime is how long nothing ran since the anchor, in milliseconds: 0 if that
// can't be known, so that nothing ends too early.
func (a *anchor) downtime(now anchor) uint64 {
	if a.boot != "" && a.boot == now.boot && now.up >= a.up {
		return now.up - a.up
	}
	if a.wall < earliest || now.wall < a.wall || now.wall-a.wall > maxDowntime {
		return 0
	}
	return now.wall - a.wall
}

// newTimeline is the timeline of a broker that starts now. last is the anchor
// that the one before has left, nil if there is none.
func newTimeline(now Reading, last *anchor) timeline {
	at := newAnchor(timeline{}, now)
	start := max(at.wall, earliest)
	if last != nil {
		start = last.at + last.downtime(at)
	}
	return timeline{zero: int64(start) - now.Engine.Milliseconds()}
}

// clock is the time of a store: its timeline, and when the anchor was written.
// Load sets it; after that the timeline stays, and the rest is the committer's.
type clock struct {
	read Clock // nil: times are durations since the timeline began
	log  *slog.Logger

	times timeline
	began time.Duration // when Load did, on the engine's clock
	ahead int64         // of the timeline, the time of day was by the anchor that was read, in milliseconds

	last   Reading // with the last anchor
	anchor bool    // last is set
}

// begin begins the time at the start. last is the anchor that the broker before
// has left, nil if there is none.
func (c *clock) begin(last *anchor) {
	if last != nil && last.wall >= earliest {
		c.ahead = int64(last.wall - last.at)
	}
	if c.read != nil {
		c.last = c.read()
		c.times, c.began = newTimeline(c.last, last), c.last.Engine
	}
}

// begun adds the anchor of the start, as begin has read it.
func (c *clock) begun(changes *Changes) {
	if c.read != nil {
		c.addAnchor(changes, c.last)
	}
}

const (
	// anchorEvery is how often a busy store writes its anchor, with its next
	// batch, and idleAnchorEvery how often one that has nothing else to write.
	anchorEvery     = time.Second
	idleAnchorEvery = time.Minute

	// clockEvery is how often an idle store looks whether the time of day was
	// set, by more than clockStep.
	clockEvery = 10 * time.Second
	clockStep  = time.Second
)

// tick adds the anchor to changes if the last one is older than some time, or if
// the time of day was set since. It reports whether it was.
func (c *clock) tick(changes *Changes, older time.Duration) (set bool) {
	if !c.anchor {
		return false
	}
	r := c.read()
	by := c.last.setBy(r)
	if set = by.Abs() > clockStep; set {
		c.log.Info("the time of day was set; what expires does not follow", "by", by)
	} else if r.Engine-c.last.Engine < older {
		return false
	}
	c.addAnchor(changes, r)
	return set
}

func (c *clock) addAnchor(changes *Changes, r Reading) {
	c.last, c.anchor = r, true
	a := newAnchor(c.times, r)
	changes.Set(clockKey(nil), a.append(nil))
}

// limit is when something that was there at the start ends: at some time, but no
// later than so many seconds after the start, for that is what was asked for. It
// makes a difference when the anchor was lost.
func (c *clock) limit(ends time.Duration, seconds uint32) time.Duration {
	if c.read == nil {
		return ends
	}
	return min(ends, max(c.began+time.Duration(seconds)*time.Second, 1)) // 0 is never
}

// timeOfDay is what the clocks on the wall show, or showed, at a time on the
// timeline, if that is all there is (no Clock).
func (c *clock) timeOfDay(t time.Duration) time.Time {
	return time.UnixMilli(t.Milliseconds() + c.ahead).UTC()
}
