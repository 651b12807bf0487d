package broker

import "time"

// lapses are the connections whose proof of who they are ends at a time: see
// Verdict.Expires. There are none where nobody says so.
type lapses map[*conn]*lapse

// lapse ends a connection.
type lapse struct {
	c     *conn
	timer timer
}

// lapseAt has the connection end at a time of the wall clock, and no more at the one
// before.
func (s *shard) lapseAt(c *conn, at time.Time) {
	s.forgetLapse(c)
	if at.IsZero() {
		return
	}
	if s.lapses == nil {
		s.lapses = lapses{}
	}
	l := &lapse{c: c}
	l.timer.owner = l
	s.lapses[c] = l
	s.timers.start(&l.timer, s.now+time.Until(at))
}

// forgetLapse is called when a connection ends, or is to end at another time.
func (s *shard) forgetLapse(c *conn) {
	if l := s.lapses[c]; l != nil {
		s.timers.stop(&l.timer)
		delete(s.lapses, c)
	}
}
