package broker

import (
	"time"
)

// A client that publishes, disconnects and comes back at once is there twice for
// a moment, and nothing says which connection is read first. So before a CONNECT
// takes over, what had arrived on the older connection is handled: messages are
// not lost, and a DISCONNECT keeps the will from being published.

// hearing is a connection that is heard out, because others want its client id.
type hearing struct {
	old     *conn
	waiting []*conn // whose CONNECT waits for the end
	timer   timer
}

// hearingTime bounds a hearing. A connection that is paused, because its
// messages wait for the disk or for other shards, can't be heard before; its
// client is not to wait for that for long.
const hearingTime = time.Second

// hearOut begins a hearing of the connection that has the client id now, if
// there is one that j has not waited for. It reports whether j must wait.
func (s *shard) hearOut(j *connecting) (wait bool) {
	cl := s.clients.Get(j.id)
	if cl == nil || cl.conn == nil || cl.conn == j.heard {
		return false
	}
	c := s.park(j).c
	h := s.hearings[cl.conn]
	if h == nil {
		h = &hearing{old: cl.conn}
		h.timer.owner = h
		s.hearings[h.old] = h
		s.timers.start(&h.timer, s.now+hearingTime)
		h.old.net.Exhaust(func() {
			s.tell()
			h.expire(s)
		})
	}
	h.waiting = append(h.waiting, c)
	s.timers.stop(&c.timer) // CONNECT is here; the hearing has its own end
	s.pause(c, forAnswer)
	return true
}

// expire implements expirer: all is heard, or the time is over.
func (h *hearing) expire(s *shard) {
	if s.hearings[h.old] != h {
		return
	}
	delete(s.hearings, h.old)
	s.timers.stop(&h.timer)
	for _, c := range h.waiting {
		if j := s.joining[c]; j != nil {
			j.heard = h.old
			s.proceed(c)
		}
	}
}
