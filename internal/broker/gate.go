package broker

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/settings"
)

// gate counts the network connections of all shards, against the limits.
type gate struct {
	n        atomic.Int64
	refusing atomic.Int64 // connections over the limits that wait for their refusal
	known    atomic.Int64 // how many are in from

	mu    sync.Mutex
	perIP map[netip.Addr]int   // of connections that came while there was a limit of an address, and so is
	from  map[*conn]netip.Addr // where they come from
}

func (g *gate) init() {
	g.perIP, g.from = map[netip.Addr]int{}, map[*conn]netip.Addr{}
}

// passage is how a connection came through the gate.
type passage uint8

const (
	entered   passage = iota // it is counted
	overAll                  // there are too many, and it waits for its refusal
	overPerIP                // there are too many from its address, and it waits for its refusal
)

// refusalTime is how long they have for CONNECT: several round trips.
const refusalTime = time.Second

// enter lets a connection in, or returns which limit it is over.
func (g *gate) enter(c *conn, l *settings.Limits) passage {
	if n := g.n.Add(1); l.Connections > 0 && n > int64(l.Connections) {
		g.n.Add(-1)
		return overAll
	}
	if l.ConnectionsPerIP == 0 {
		return entered
	}
	a := c.net.Remote().Addr()
	if !a.IsValid() {
		return entered
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.perIP[a] >= l.ConnectionsPerIP {
		g.n.Add(-1)
		return overPerIP
	}
	g.perIP[a]++
	g.from[c] = a
	g.known.Add(1)
	return entered
}

// leave lets a connection out.
func (g *gate) leave(c *conn) {
	if c.passage != entered {
		g.refusing.Add(-1)
		return
	}
	g.n.Add(-1)
	if g.known.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	a, ok := g.from[c]
	if !ok {
		return
	}
	delete(g.from, c)
	g.known.Add(-1)
	if g.perIP[a]--; g.perIP[a] == 0 {
		delete(g.perIP, a)
	}
}

// reason is why a connection is not let in.
func (p passage) reason() string {
	if p == overAll {
		return "more connections than limits.connections allows"
	}
	return "more connections of this address than limits.connections_per_ip allows"
}
