package broker

import (
	"slices"
	"time"
)

// lagging is what a shard knows of a client that has more output pending than
// limits.pending_bytes, or would have.
type lagging struct {
	since time.Duration // when it was seen to take something, or began to be behind
	look  time.Duration // when it is to be looked at
	taken uint64        // net.Acked then
	asked int           // bytes of answers since it had taken begun
	begun uint64        // net.Acked
}

// hold keeps QoS 1 and 2 messages for a slow reader in its session until the
// kernel has taken what is pending.
func (s *shard) hold(c *conn) {
	if c.pace != inTime {
		return
	}
	c.pace = slow
	c.client.session.Link.Hold = true
	s.held = append(s.held, c)
	taken := c.net.Acked()
	s.behind[c] = &lagging{since: s.now, look: s.now + firstLook, taken: taken, begun: taken}
	s.timers.start(&c.timer, s.due(c))
}

// caughtUp ends that.
func (s *shard) caughtUp(c *conn) {
	c.pace = inTime
	delete(s.behind, c)
}

// slowPatience is how long a client may take nothing of its output before it is
// disconnected. However little it takes, it stays: what is pending for it is
// bounded. TCP tells of what the peer has read in steps of a segment, which is
// 64 KiB on the loopback interface: so this is 500 bytes a second.
const slowPatience = 2 * time.Minute

// firstLook is when a client that is behind is looked at for the first time. A
// shard may have had two turns before the engine wrote what was pending, all of
// it: then release has given up too early, and Drained does not come.
const firstLook = 2 * tick

// stuck reports whether a client that is behind has taken nothing for too long.
func (s *shard) stuck(c *conn) bool {
	if c.pace == inTime {
		return false
	}
	b := s.behind[c]
	if s.now < b.look {
		return false
	}
	if c.net.Pending() == 0 {
		s.caughtUp(c)
		s.pump(c)
		return false
	}
	patient := b.since + slowPatience
	if s.now >= patient {
		taken := c.net.Acked()
		if taken == b.taken {
			return true
		}
		b.since, b.taken = s.now, taken
		patient = s.now + slowPatience
	}
	b.look = patient
	return false
}

// release lets those go on whose output the kernel took at the end of the last
// turn: Drained tells only of what it did not take. It reports whether another
// turn is needed to find out.
func (s *shard) release() (more bool) {
	if len(s.held) == 0 || s.shut { // the next round wakes us
		return false
	}
	list := s.held
	s.held = s.stillHeld[:0]
	for i, c := range list {
		if s.shut {
			s.held = append(slices.Clone(list[i:]), s.held...) // it is their turn first
			break
		}
		switch {
		case c.closing || c.pace == inTime:
		case c.net.Pending() == 0:
			s.caughtUp(c)
			s.pump(c)
		case c.pace == slow: // held in this turn, nothing is written yet
			c.pace = looked
			s.held = append(s.held, c)
		default:
			c.pace = slow // Drained will come
		}
	}
	clear(list)
	s.stillHeld = list[:0]
	return len(s.held) > 0 && !s.shut
}

// overdue reports whether a client makes the broker pile up answers: it goes on
// asking, and takes less than it asks for. Messages do not count, for they are
// held back.
func (s *shard) overdue(c *conn) bool {
	most, pending := s.settings.pending, c.net.Pending()
	if s.pressure >= SlowPublishers && pending > pendingUnderPressure && !c.closing {
		s.stall(c) // it gets no more answers than it asks for in a round
	}
	if c.closing || pending <= most {
		return false
	}
	s.hold(c)
	b := s.behind[c]
	if b.asked <= most {
		return false
	}
	if taken := c.net.Acked(); taken-b.begun >= uint64(b.asked) {
		b.asked, b.begun = 0, taken
		return false
	}
	return true
}
