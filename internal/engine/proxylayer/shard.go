package proxylayer

import (
	"errors"
	"sync/atomic"
	"time"

	"midge/internal/engine"
)

// shard decorates an engine.Shard. It implements it.
type shard struct {
	layer   *Layer
	inner   engine.Shard
	waiting map[*conn]time.Duration // for the header, until then
	due     time.Duration           // when to look at them next; 0: nobody waits
}

var (
	errUntrusted = errors.New("it does not come from an address in proxy_protocol")
	errFull      = errors.New("there are more connections than limits.connections allows")
	errLate      = errors.New("no header of the PROXY protocol in time")
)

// Open implements engine.Shard.
func (s *shard) Open(raw engine.Conn) {
	if c, ok := raw.Attached().(*conn); ok { // another shard has moved it here
		s.inner.Open(c)
		return
	}
	at := s.layer.cfg.Listener(raw.Listener())
	if at == nil {
		s.inner.Open(raw)
		return
	}
	c := &conn{Conn: raw}
	raw.Attach(c)
	if !at.trusts(raw.Remote().Addr()) {
		s.refuse(c, &s.layer.counters.Untrusted, errUntrusted)
		return
	}
	if !s.layer.cfg.Enter() {
		s.refuse(c, &s.layer.counters.Full, errFull)
		return
	}
	until := s.layer.runner.Now() + at.Timeout
	s.waiting[c] = until
	if s.due == 0 || until < s.due {
		s.due = until
	}
}

// refuse ends a connection that the inner shard has not got.
func (s *shard) refuse(c *conn, counter *atomic.Uint64, why error) {
	counter.Add(1)
	s.layer.cfg.Log.Debug("connection refused", "remote", c.Conn.Remote(), "reason", why)
	s.stopWaiting(c)
	c.Abort()
}

// stopWaiting is the end of a wait for a header.
func (s *shard) stopWaiting(c *conn) {
	if _, waits := s.waiting[c]; waits {
		delete(s.waiting, c)
		s.layer.cfg.Leave()
	}
}

// Data implements engine.Shard.
func (s *shard) Data(raw engine.Conn, b []byte) int {
	c, ok := raw.Attached().(*conn)
	switch {
	case !ok:
		return s.inner.Data(raw, b)
	case c.open:
		return s.inner.Data(c, b)
	case c.closing:
		return len(b)
	}
	h, n, err := parse(b)
	if err != nil {
		s.refuse(c, &s.layer.counters.Invalid, err)
		return len(b)
	}
	if n == 0 {
		return 0
	}
	s.stopWaiting(c)
	c.header, c.open = h, true
	s.inner.Open(c)
	if len(b) > n && !c.paused && !c.closing {
		n += s.inner.Data(c, b[n:])
	}
	return n
}

// Drained implements engine.Shard.
func (s *shard) Drained(raw engine.Conn) {
	c, ok := raw.Attached().(*conn)
	switch {
	case !ok:
		s.inner.Drained(raw)
	case c.open:
		s.inner.Drained(c)
	}
}

// Closed implements engine.Shard.
func (s *shard) Closed(raw engine.Conn, err error) {
	c, ok := raw.Attached().(*conn)
	switch {
	case !ok:
		s.inner.Closed(raw, err)
	case c.open:
		s.inner.Closed(c, err)
	default:
		s.stopWaiting(c)
	}
}

// Turn implements engine.Shard.
func (s *shard) Turn(now time.Duration) time.Duration {
	if s.due > 0 && now >= s.due {
		s.expire(now)
	}
	next := s.inner.Turn(now)
	if s.due > 0 {
		next = min(next, s.due)
	}
	return next
}

// expire ends the connections that have waited too long.
func (s *shard) expire(now time.Duration) {
	s.due = 0
	for c, until := range s.waiting {
		switch {
		case now >= until:
			s.refuse(c, &s.layer.counters.Late, errLate)
		case s.due == 0 || until < s.due:
			s.due = until
		}
	}
}
