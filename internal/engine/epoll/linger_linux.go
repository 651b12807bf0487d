//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"io"
	"slices"
	"syscall"
	"time"

	"midge/internal/engine"
)

// linger is a connection that has got Closed and is not closed.
type linger struct {
	c          *conn
	generation uint32
	deadline   time.Duration
}

// lingerTime is how long a closed connection may take to accept its output
// and to close its end, as engine.Conn.Close promises.
const lingerTime = 2 * time.Second

const (
	// mostDiscards bounds how often a peer that keeps sending has its input read
	// after the end, in vain.
	mostDiscards = 64
)

// bury calls Closed and closes the socket, or lets it linger.
func (s *shard) bury(c *conn, err error) {
	if err == nil || err == io.EOF {
		if !c.has(blocked) {
			s.write(c)
		}
	} else {
		s.dropOutput(c)
	}
	s.dropInput(c)
	s.handler.Closed(c, err)
	c.state = nil
	s.engine.counters.Open.Add(-1)
	if err != nil || c.has(broken|aborted) || c.Pending() > engine.MostLingeringBytes {
		s.free(c)
		return
	}
	c.flags = c.flags&^paused | lingering
	c.note = 0
	s.makeRoom()
	s.lingers = append(s.lingers, linger{c, c.generation, s.engine.loop.Now() + lingerTime})
	s.continueLinger(c, 0)
}

// makeRoom lets the socket that has lingered longest go if another one would
// be too many.
func (s *shard) makeRoom() {
	alive := func(l linger) bool { return l.c.generation == l.generation && !l.c.has(dead) }
	most := s.engine.cfg.Lingering / len(s.engine.shards)
	if len(s.lingers) < most {
		return
	}
	s.lingers = slices.DeleteFunc(s.lingers, func(l linger) bool { return !alive(l) })
	if len(s.lingers) == most {
		s.free(s.lingers[0].c)
		s.lingers = slices.Delete(s.lingers, 0, 1)
	}
}

// continueLinger sends what is left, says to the peer that nothing follows,
// and waits for the peer to close its end: a socket that is closed with unread
// input is reset, and the peer could lose the last packet it was sent.
func (s *shard) continueLinger(c *conn, events uint32) {
	if c.Pending() > 0 {
		n, errno := send(c.fd, s.pending(c))
		if s.sent(c, n, errno); c.has(broken) {
			s.free(c)
			return
		}
	}
	if c.Pending() == 0 && !c.has(finished) {
		c.flags |= finished
		shutdownWrite(c.fd)
	}
	// What is wrong with a socket is reported until it is closed, and so is that
	// both ends are shut down.
	if events&syscall.EPOLLERR != 0 || events&epollBad != 0 && c.has(deaf) || s.discard(c) {
		s.free(c)
		return
	}
	c.arm()
}

// discard reads input of a connection that lingers, and tells whether nothing
// more is to be waited for. It ends listening to a peer that sends on and on,
// or that has no more to say and is still to be sent to: both would be reported
// without end.
func (s *shard) discard(c *conn) (over bool) {
	if c.has(deaf) {
		return false
	}
	n, errno := recv(c.fd, s.poller.read.Bytes())
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0, n == 0 && c.has(finished):
		return true
	}
	if c.note++; n == 0 || c.note == mostDiscards {
		c.flags |= deaf
	}
	return false
}

// expireLingers closes the sockets whose time is over.
func (s *shard) expireLingers(now time.Duration) {
	i := 0
	for ; i < len(s.lingers); i++ {
		l := s.lingers[i]
		if l.c.generation == l.generation && !l.c.has(dead) {
			if l.deadline > now {
				break
			}
			s.free(l.c)
		}
	}
	s.lingers = slices.Delete(s.lingers, 0, i)
}

// free closes the socket of c and gives its record back.
func (s *shard) free(c *conn) {
	s.dropOutput(c)
	s.dropInput(c)
	closeFD(int(c.fd))
	c.flags = c.flags&dirty | closing | dead
	s.freed = append(s.freed, c)
}

// release gives the records of closed connections back. Neither an event nor
// a list refers to them any more.
func (s *shard) release() {
	for i, c := range s.freed {
		*c = conn{id: c.id, generation: c.generation + 1, flags: dead}
		s.engine.slab.Put(c.id)
		s.freed[i] = nil
	}
	s.freed = s.freed[:0]
}
