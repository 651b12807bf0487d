package broker

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/engine"
	"midge/internal/rate"
)

// gate counts the network connections of all shards, against the limits.
type gate struct {
	n        atomic.Int64
	limit    atomic.Int64 // of n, for those that no shard has yet; 0: none
	refusing atomic.Int64 // connections over the limits that wait for their refusal
	known    atomic.Int64 // how many are in from

	listeners [engine.MaxListeners]atomic.Int64 // connections that came by each

	mu    sync.Mutex
	perIP map[origin]int   // of connections that came while there was a limit of an address, and so is
	from  map[*conn]origin // where they come from
}

// origin is what the limit of an address counts by.
type origin struct {
	address  netip.Addr // of a network: see rate.Network
	listener int        // that counts by itself; -1 for all others together
}

func (g *gate) init() {
	g.perIP, g.from = map[origin]int{}, map[*conn]origin{}
}

// passage is how a connection came through the gate.
type passage uint8

const (
	entered      passage = iota // it is counted
	overAll                     // there are too many, and it waits for its refusal
	overListener                // there are too many of its listener, and it waits for its refusal
	overPerIP                   // there are too many from its address, and it waits for its refusal

	// These are closed at once:
	overRate         // too many come,
	overListenerRate // to its listener,
	overPerIPRate    // from its address
)

// refusalTime is how long they have for CONNECT: several round trips.
const refusalTime = time.Second

// enter lets a connection in, or returns which limit it is over.
func (g *gate) enter(c *conn, f *inForce) passage {
	if n := g.n.Add(1); f.Limits.Connections > 0 && n > int64(f.Limits.Connections) {
		g.n.Add(-1)
		return overAll
	}
	l := c.net.Listener()
	a := f.admit(c.net)
	p := entered
	if n := g.listeners[l].Add(1); a.connections > 0 && n > int64(a.connections) {
		p = overListener
	} else if a.perIP > 0 && !g.enterFrom(c, a, l) {
		p = overPerIP
	}
	if p != entered {
		g.n.Add(-1)
		g.listeners[l].Add(-1)
	}
	return p
}

// place counts a connection by its address that was let in without one.
func (g *gate) place(c *conn, f *inForce) passage {
	a, l := f.admit(c.net), c.net.Listener()
	if a.perIP == 0 || g.enterFrom(c, a, l) {
		return entered
	}
	g.putBack(l)
	return overPerIP
}

// putBack makes a connection that was let in one that waits for its refusal.
func (g *gate) putBack(listener int) {
	g.n.Add(-1)
	g.listeners[listener].Add(-1)
	g.refusing.Add(1)
}

// enterFrom counts a connection by its address, and reports false if there are too
// many from there. One without an address is not counted.
func (g *gate) enterFrom(c *conn, a *admission, listener int) bool {
	o := origin{rate.Network(c.net.Remote().Addr()), -1}
	if !o.address.IsValid() {
		return true
	}
	if a.ownPerIP {
		o.listener = listener
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.perIP[o] >= a.perIP {
		return false
	}
	g.perIP[o]++
	g.from[c] = o
	g.known.Add(1)
	return true
}

// Reserve counts a connection that no shard has yet, since the engine does not know who
// it is, and reports false if limits.connections does not allow it. Unreserve ends that.
// Both are safe from any goroutine.
func (b *Broker) Reserve() bool {
	n, limit := b.gate.n.Add(1), b.gate.limit.Load()
	if limit > 0 && n > limit {
		b.gate.n.Add(-1)
		return false
	}
	return true
}

// Unreserve is the end of what Reserve began.
func (b *Broker) Unreserve() { b.gate.n.Add(-1) }

// leave lets a connection out.
func (g *gate) leave(c *conn) {
	if c.passage != entered {
		g.refusing.Add(-1)
		return
	}
	g.n.Add(-1)
	g.listeners[c.net.Listener()].Add(-1)
	if g.known.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	o, ok := g.from[c]
	if !ok {
		return
	}
	delete(g.from, c)
	g.known.Add(-1)
	if g.perIP[o]--; g.perIP[o] == 0 {
		delete(g.perIP, o)
	}
}

// reason is why a connection is not let in.
func (p passage) reason() string {
	switch p {
	case overAll:
		return "more connections than limits.connections allows"
	case overListener:
		return "more connections than limits.connections of the listener allows"
	case overRate:
		return "more connections in a time than limits.connect_rate allows"
	case overListenerRate:
		return "more connections in a time than limits.connect_rate of the listener allows"
	case overPerIPRate:
		return "more connections of this address in a time than limits.connect_rate_per_ip allows"
	}
	return "more connections of this address than limits.connections_per_ip allows"
}
