package broker

import (
	"slices"
	"time"
)

// slowReaders are the clients that have more output pending than
// limits.pending_bytes, or would have. What is above QoS 0 waits in their sessions
// meanwhile, and QoS 0 is dropped.
type slowReaders struct {
	lagging map[*conn]*lagging
	held    []*conn // of these, those of which it is not known yet whether Drained will come
	spare   []*conn // memory of held
}

// lagging is what is known of a slow reader.
type lagging struct {
	since time.Duration // when it was seen to take something, or became slow
	look  time.Duration // when it is to be looked at
	taken uint64        // net.Acked then
	asked int           // bytes of answers since it had taken begun
	begun uint64        // net.Acked
}

const (
	// slowPatience is how long a client may take nothing of its output before it is
	// disconnected. However little it takes, it stays: what is pending for it is
	// bounded. TCP reports what the peer has read in steps of a segment, which is
	// 64 KiB on the loopback interface: so this is 500 bytes a second.
	slowPatience = 2 * time.Minute

	// firstLook is when a slow reader is looked at for the first time. A shard may
	// have had two turns before the engine wrote what was pending, all of it: then
	// release has given up too early, and Drained does not come.
	firstLook = 2 * tick
)

func (r *slowReaders) init() { r.lagging = map[*conn]*lagging{} }

// hold makes a client a slow reader, and reports whether it was none before.
func (r *slowReaders) hold(c *conn, now time.Duration) bool {
	if c.pace != inTime {
		return false
	}
	c.pace = slow
	c.client.session.Link.Hold = true
	r.held = append(r.held, c)
	taken := c.net.Acked()
	r.lagging[c] = &lagging{since: now, look: now + firstLook, taken: taken, begun: taken}
	return true
}

// caughtUp ends that.
func (r *slowReaders) caughtUp(c *conn) {
	c.pace = inTime
	delete(r.lagging, c)
}

// answered counts bytes of answers that a client has asked for.
func (r *slowReaders) answered(c *conn, n int) {
	if l := r.lagging[c]; l != nil {
		l.asked += n
	}
}

// look looks at a client now and then. It reports whether it has caught up, or is
// stuck: it has taken nothing for too long.
func (r *slowReaders) look(c *conn, now time.Duration) (caughtUp, stuck bool) {
	if c.pace == inTime {
		return false, false
	}
	l := r.lagging[c]
	if now < l.look {
		return false, false
	}
	if c.net.Pending() == 0 {
		r.caughtUp(c)
		return true, false
	}
	patient := l.since + slowPatience
	if now >= patient {
		taken := c.net.Acked()
		if taken == l.taken {
			return false, true
		}
		l.since, l.taken = now, taken
		patient = now + slowPatience
	}
	l.look = patient
	return false, false
}

// pilesUp reports whether a slow reader asks for more answers than it takes, with
// more than limit bytes of them. Messages do not count, for they are held back.
func (r *slowReaders) pilesUp(c *conn, limit int) bool {
	l := r.lagging[c]
	if l.asked <= limit {
		return false
	}
	if taken := c.net.Acked(); taken-l.begun >= uint64(l.asked) {
		l.asked, l.begun = 0, taken
		return false
	}
	return true
}

// release calls resume for those whose output the kernel took at the end of the
// last turn: Drained comes only for what it did not take. Once shut, the others
// wait for another call. It reports whether another turn is needed to find out.
func (r *slowReaders) release(shut *bool, resume func(*conn)) (more bool) {
	if len(r.held) == 0 || *shut { // the next round wakes us
		return false
	}
	list := r.held
	r.held = r.spare[:0]
	for i, c := range list {
		if *shut {
			r.held = append(slices.Clone(list[i:]), r.held...) // it is their turn first
			break
		}
		switch {
		case c.closing || c.pace == inTime:
		case c.net.Pending() == 0:
			r.caughtUp(c)
			resume(c)
		case c.pace == slow: // held in this turn, nothing is written yet
			c.pace = looked
			r.held = append(r.held, c)
		default:
			c.pace = slow // Drained will come
		}
	}
	clear(list)
	r.spare = list[:0]
	return len(r.held) > 0 && !*shut
}
