//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"io"
	"slices"
	"syscall"
	"time"

	"midge/internal/engine"
)

// lingerTime is how long a closed connection may take to accept its output
// and to close its end, as engine.Conn.Close promises.
const lingerTime = 2 * time.Second

// maxDiscards bounds how often the input of a peer that sends on and on is read
// after the end, in vain.
const maxDiscards = 64

// linger is a connection for which Closed was called, and whose socket is open.
type linger struct {
	c          *conn
	generation uint32
	deadline   time.Duration
}

// on reports whether the connection still lingers.
func (l linger) on() bool { return l.c.generation == l.generation && !l.c.has(dead) }

// lingers are the connections of a shard that linger, in the order of their
// deadlines. No limit of connections counts them.
type lingers struct {
	max  int
	list []linger
}

// add adds a connection. If it is one too many, add returns the one that has
// lingered longest: its socket must be closed.
func (l *lingers) add(c *conn, deadline time.Duration) (oldest *conn) {
	if len(l.list) >= l.max {
		l.list = slices.DeleteFunc(l.list, func(x linger) bool { return !x.on() })
	}
	if len(l.list) >= l.max {
		oldest = l.list[0].c
		l.list = slices.Delete(l.list, 0, 1)
	}
	l.list = append(l.list, linger{c, c.generation, deadline})
	return oldest
}

// due is when the first deadline is over.
func (l *lingers) due() time.Duration {
	if len(l.list) == 0 {
		return engine.Never
	}
	return l.list[0].deadline
}

// expire calls end for each connection that lingers and whose deadline is over.
func (l *lingers) expire(now time.Duration, end func(*conn)) {
	i := 0
	for ; i < len(l.list); i++ {
		x := l.list[i]
		if x.on() {
			if x.deadline > now {
				break
			}
			end(x.c)
		}
	}
	l.list = slices.Delete(l.list, 0, i)
}

// finish calls Closed and closes the socket, or lets it linger.
func (s *shard) finish(c *conn, err error) {
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
	if err != nil || c.has(broken|aborted) || c.Pending() > engine.MaxLingeringBytes {
		s.free(c)
		return
	}
	c.flags = c.flags&^paused | lingering
	c.note = 0
	if oldest := s.lingers.add(c, s.engine.loop.Now()+lingerTime); oldest != nil {
		s.free(oldest)
	}
	s.continueLinger(c, 0)
}

// continueLinger sends what is left, then shuts our end down, and waits for the peer to close its end: a socket that is closed with unread
// input is reset, and the peer could lose the last packet it was sent.
func (s *shard) continueLinger(c *conn, events uint32) {
	if c.Pending() > 0 {
		n, errno := s.sendPending(c)
		if s.sent(c, n, errno); c.has(broken) {
			s.free(c)
			return
		}
	}
	if c.Pending() == 0 && !c.has(shutDown) {
		c.flags |= shutDown
		shutdownWrite(c.fd)
	}
	// What is wrong with a socket is reported until it is closed, and so is that
	// both ends are shut down.
	if events&syscall.EPOLLERR != 0 || events&epollBad != 0 && c.has(ignored) || s.discard(c) {
		s.free(c)
		return
	}
	c.arm()
}

// discard reads input of a connection that lingers, and reports whether nothing
// more is to be waited for. From a peer that sends on and on, and from one that has
// closed its end and is still to be sent to, nothing more is read: epoll would
// report both without end.
func (s *shard) discard(c *conn) (over bool) {
	if c.has(ignored) {
		return false
	}
	n, errno := recv(c.fd, s.poller.read.Bytes())
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0, n == 0 && c.has(shutDown):
		return true
	}
	if c.note++; n == 0 || c.note == maxDiscards {
		c.flags |= ignored
	}
	return false
}

// free closes the socket of c and gives its record back.
func (s *shard) free(c *conn) {
	s.dropOutput(c)
	s.dropInput(c)
	closeFD(int(c.fd))
	s.engine.open[c.listener].Add(-1)
	c.flags = c.flags&dirty | closing | dead
	s.freed = append(s.freed, c)
}

// release gives the records of closed connections back. Neither an event nor
// a list refers to them any more.
func (s *shard) release() {
	for i, c := range s.freed {
		if len(s.taken) > 0 {
			delete(s.taken, c)
		}
		*c = conn{id: c.id, generation: c.generation + 1, flags: dead}
		s.engine.slab.Put(c.id)
		s.freed[i] = nil
	}
	s.freed = s.freed[:0]
}
