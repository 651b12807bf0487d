package broker

import (
	"math/bits"
	"time"

	"midge/internal/engine"
)

// tick is the resolution of a wheel. Nothing in MQTT is finer than a second.
const tick = 50 * time.Millisecond

const (
	wheelLevels = 4
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelSpan   = 1 << (wheelBits * wheelLevels) // ticks, 9.7 days
)

// wheel holds the timers of a shard: setting and stopping one costs O(1),
// however many there are. A slot of level l is 64^l ticks wide; when time
// reaches it, its timers move to finer levels.
type wheel struct {
	now   uint64 // in ticks
	slots [wheelLevels][wheelSlots]*timer
	used  [wheelLevels]uint64 // sets of slots that have timers
}

// timer is an entry of a wheel, part of what it belongs to, so that it needs
// no memory of its own. The zero value is a timer that is not set.
type timer struct {
	next, prev *timer
	due        uint64 // in ticks
	owner      expirer
	level      uint8
	slot       uint8
	set        bool
}

// expirer is what a timer belongs to.
type expirer interface{ expire(s *shard) }

// start sets t to expire at the given time, or changes when it does.
func (w *wheel) start(t *timer, at time.Duration) {
	w.stop(t)
	t.due = uint64((max(at, 0) + tick - 1) / tick)
	w.place(t)
}

func (w *wheel) place(t *timer) {
	due := max(t.due, w.now+1)
	due = min(due, w.now+wheelSpan-1) // it comes by here again
	level := (bits.Len64(due-w.now) - 1) / wheelBits
	w.insert(t, level, due>>(level*wheelBits)%wheelSlots)
}

func (w *wheel) insert(t *timer, level int, slot uint64) {
	head := &w.slots[level][slot]
	t.next, t.prev = *head, nil
	if *head != nil {
		(*head).prev = t
	}
	*head = t
	t.level, t.slot, t.set = uint8(level), uint8(slot), true
	w.used[level] |= 1 << slot
}

// stop makes sure that t doesn't expire.
func (w *wheel) stop(t *timer) {
	if !t.set {
		return
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.level][t.slot] = t.next
		if t.next == nil {
			w.used[t.level] &^= 1 << t.slot
		}
	}
	t.next, t.prev, t.set = nil, nil, false
}

// nextTick is the tick at which the wheel has something to do; ok is false if
// there is none.
func (w *wheel) nextTick() (next uint64, ok bool) {
	for level, used := range w.used {
		if used == 0 {
			continue
		}
		at := w.now >> (level * wheelBits)
		ahead := bits.TrailingZeros64(bits.RotateLeft64(used, -int((at+1)%wheelSlots)))
		due := (at + 1 + uint64(ahead)) << (level * wheelBits)
		if !ok || due < next {
			next, ok = due, true
		}
	}
	return next, ok
}

// next is when run must be called next.
func (w *wheel) next() time.Duration {
	n, ok := w.nextTick()
	if !ok {
		return engine.Never
	}
	return time.Duration(n) * tick
}

// run calls expire for each timer that is due.
func (w *wheel) run(now time.Duration, expire func(expirer)) {
	end := uint64(now / tick)
	for w.now < end {
		n, ok := w.nextTick()
		if !ok || n > end {
			w.now = end
			return
		}
		w.now = n
		for level := wheelLevels - 1; level > 0; level-- {
			if n&(1<<(level*wheelBits)-1) == 0 {
				w.cascade(level, n>>(level*wheelBits)%wheelSlots)
			}
		}
		for slot := &w.slots[0][n%wheelSlots]; *slot != nil; {
			t := *slot
			w.stop(t)
			expire(t.owner)
		}
	}
}

// cascade moves the timers of a slot that time has reached to finer levels,
// and those that are due to the slot that run empties next.
func (w *wheel) cascade(level int, slot uint64) {
	for head := &w.slots[level][slot]; *head != nil; {
		t := *head
		w.stop(t)
		if t.due <= w.now {
			w.insert(t, 0, w.now%wheelSlots)
		} else {
			w.place(t)
		}
	}
}
