package gonet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/engine"
)

// server carries the connections of listeners.
type server struct {
	cfg     Config
	runner  engine.Runner
	shards  []engine.Shard // each of the shard's thread, which may exchange it
	writers sync.WaitGroup
	next    atomic.Uint32 // for which shard is next

	hurry chan struct{} // closed when nobody is to linger any more

	mu      sync.Mutex
	conns   map[*conn]struct{}       // for which Closed is still to be called, and
	numbers [engine.MaxListeners]int // how many there are of each listener
	empty   chan struct{}            // closed when stopping and no conns are left
	stop    bool
	lingers []*conn // that wait for their peers after Closed, the oldest first
}

func newServer(runner engine.Runner, shards []engine.Shard, cfg Config) *server {
	return &server{
		cfg: cfg.withDefaults(), runner: runner, shards: slices.Clone(shards),
		conns: make(map[*conn]struct{}), empty: make(chan struct{}), hurry: make(chan struct{}),
	}
}

// place is the listener that connections to a socket belong to.
type place struct {
	number int
	name   string // engine.Peer.Listener
}

// placed is the place of a socket, which may get another one.
type placed struct{ now atomic.Pointer[place] }

// set has the connections that come from now on belong to a listener.
func (p *placed) set(at engine.Listener, addr net.Addr) {
	p.now.Store(&place{at.Number, cmp.Or(at.Name, addr.String())})
}

// open is how many connections of a listener there are.
func (s *server) open(number int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.numbers[number]
}

// acceptPause is how long nobody is accepted after accepting went wrong.
const acceptPause = 100 * time.Millisecond

// Serve accepts connections from ln and carries them on the shards that runner
// runs, until ctx is cancelled. Then it closes ln and the connections, and
// returns nil after Closed was called for each and the output
// has been written or its time was over. So the runner should run on until
// Serve has returned. Serve returns an error if ln breaks.
func Serve(ctx context.Context, runner engine.Runner, shards []engine.Shard, ln net.Listener, cfg Config) error {
	s := newServer(runner, shards, cfg)
	var p placed
	p.set(engine.Listener{Number: cfg.Listener, Name: cfg.Name}, ln.Addr())
	err := s.acceptAll(ctx, ln, &p)
	ln.Close()
	s.closeAll()
	return err
}

// acceptAll accepts until ctx is cancelled or ln breaks or is closed.
func (s *server) acceptAll(ctx context.Context, ln net.Listener, at *placed) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var complained time.Time
	for {
		nc, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		if err == nil {
			s.carry(nc, at.now.Load(), int(s.next.Add(1)-1)%len(s.shards))
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		if time.Since(complained) > time.Minute {
			complained = time.Now()
			s.cfg.Log.Error("cannot accept connections", "address", ln.Addr(), "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
}

// carry gives a connection to a shard.
func (s *server) carry(nc net.Conn, at *place, shard int) {
	c := &conn{
		server: s,
		at:     at,
		net:    nc,
		remote: addressOf(nc.RemoteAddr()),
		raw:    rawOf(nc),
		answer: make(chan struct{}, 1),
		gone:   make(chan struct{}),
	}
	c.shard.Store(int32(shard))
	if tcp, ok := nc.(*net.TCPConn); ok {
		watch(tcp)
	}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.numbers[at.number]++
	s.mu.Unlock()
	c.post(c.open)
}

// watch makes the system notice that the peer has vanished, as far as it can.
// What can't be set is not worth a connection.
func watch(tcp *net.TCPConn) {
	tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: engine.KeepAliveIdle, Interval: engine.KeepAliveInterval, Count: engine.KeepAliveProbes,
	})
	setUserTimeout(tcp)
}

// forget drops a connection for which Closed has been called.
func (s *server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.numbers[c.at.number]--
	if s.stop && len(s.conns) == 0 {
		close(s.empty)
	}
}

// addLingering lets a connection linger, unless the server stops. One more than may do
// so closes the one that has lingered longest.
func (s *server) addLingering(c *conn) bool {
	s.mu.Lock()
	if s.stop {
		s.mu.Unlock()
		return false
	}
	var oldest *conn
	if len(s.lingers) == s.cfg.Lingering {
		oldest = s.lingers[0]
	}
	s.lingers = append(s.lingers, c)
	s.mu.Unlock()
	if oldest != nil {
		oldest.release()
	}
	return true
}

// removeLingering drops a connection that has been closed.
func (s *server) removeLingering(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.lingers, c); i >= 0 {
		s.lingers = slices.Delete(s.lingers, i, i+1)
	}
}

// closeAll ends what is left and waits until the shards know.
func (s *server) closeAll() {
	s.mu.Lock()
	s.stop = true
	left := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		left = append(left, c)
	}
	if len(left) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.post(func() { c.end(net.ErrClosed) })
	}
	<-s.empty
	close(s.hurry)
	s.mu.Lock()
	lingers := slices.Clone(s.lingers)
	s.mu.Unlock()
	for _, c := range lingers {
		c.stopListening()
	}
	s.writers.Wait()
}
