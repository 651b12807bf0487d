package enginetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/engine"
)

// shard is an engine.Shard that checks the order of calls and does what a
// test plugs in. By default it echoes.
type shard struct {
	index int
	world *world

	anyListener bool // connections come by others than world.At, too

	inside  atomic.Bool // a call is on: there is never more than one
	conns   map[engine.Conn]bool
	faults  []string
	open    func(engine.Conn)
	data    func(engine.Conn, []byte) int
	drained func(engine.Conn)
	closed  func(engine.Conn, error)
	turn    func(time.Duration) time.Duration

	mu   sync.Mutex
	mail [][]byte // to send to every connection, from any shard
}

func (s *shard) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// enter notes that a call begins, and leave that it has ended.
func (s *shard) enter(name string) {
	if !s.inside.CompareAndSwap(false, true) {
		panic("enginetest: " + name + " during another call of the shard")
	}
}

func (s *shard) leave() { s.inside.Store(false) }

// checkListener checks that c has the number of the listener.
func (s *shard) checkListener(call string, c engine.Conn) {
	if n := c.Listener(); n != s.world.At.Number && !s.anyListener {
		s.fault("%s of a connection of listener %d, want %d", call, n, s.world.At.Number)
	}
}

// Open implements engine.Shard.
func (s *shard) Open(c engine.Conn) {
	s.enter("Open")
	defer s.leave()
	s.checkListener("Open", c)
	if s.conns[c] {
		s.fault("Open twice")
	}
	s.conns[c] = true
	if s.open != nil {
		s.open(c)
	}
}

// Data implements engine.Shard.
func (s *shard) Data(c engine.Conn, b []byte) int {
	s.enter("Data")
	defer s.leave()
	s.checkListener("Data", c)
	if !s.conns[c] {
		s.fault("Data of an unknown connection")
	}
	if len(b) == 0 {
		s.fault("Data without bytes")
	}
	if s.data == nil {
		c.Send(b, nil)
		return len(b)
	}
	return s.data(c, b)
}

// Drained implements engine.Shard.
func (s *shard) Drained(c engine.Conn) {
	s.enter("Drained")
	defer s.leave()
	if !s.conns[c] {
		s.fault("Drained of an unknown connection")
	}
	if n := c.Pending(); n != 0 {
		s.fault("Drained with %d bytes pending", n)
	}
	if s.drained != nil {
		s.drained(c)
	}
}

// Closed implements engine.Shard.
func (s *shard) Closed(c engine.Conn, err error) {
	s.enter("Closed")
	defer s.leave()
	s.checkListener("Closed", c)
	if !s.conns[c] {
		s.fault("Closed of an unknown connection")
	}
	delete(s.conns, c)
	if s.closed != nil {
		s.closed(c, err)
	}
}

// Turn implements engine.Shard.
func (s *shard) Turn(now time.Duration) time.Duration {
	s.enter("Turn")
	defer s.leave()
	s.mu.Lock()
	mail := s.mail
	s.mail = nil
	s.mu.Unlock()
	for _, m := range mail {
		for c := range s.conns {
			c.Send(m[:1], m[1:])
		}
	}
	if s.turn != nil {
		return s.turn(now)
	}
	return engine.Never
}

// post leaves mail for the shard and wakes it.
func (s *shard) post(b []byte) {
	s.mu.Lock()
	s.mail = append(s.mail, b)
	s.mu.Unlock()
	s.world.Runner.Wake(s.index)
}

// move hands c to another shard, as the call of Data that is on will return.
func (s *shard) move(c engine.Conn, shard int) {
	delete(s.conns, c)
	c.Move(shard)
}
