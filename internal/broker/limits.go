package broker

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// gate counts the network connections of all shards, against the limits.
type gate struct {
	most, mostPerIP int
	n               atomic.Int64
	mu              sync.Mutex
	perIP           map[netip.Addr]int // used only if there is a limit, and so is
	from            map[*conn]netip.Addr
}

func (g *gate) init(l Limits) {
	g.most, g.mostPerIP = l.Connections, l.ConnectionsPerIP
	if g.mostPerIP > 0 {
		g.perIP, g.from = map[netip.Addr]int{}, map[*conn]netip.Addr{}
	}
}

// enter lets a connection in, or tells which limit it is over.
func (g *gate) enter(c *conn) (all, perIP bool) {
	if n := g.n.Add(1); g.most > 0 && n > int64(g.most) {
		g.n.Add(-1)
		return true, false
	}
	if g.mostPerIP == 0 {
		return false, false
	}
	a := c.net.Remote().Addr()
	if !a.IsValid() {
		return false, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.perIP[a] >= g.mostPerIP {
		g.n.Add(-1)
		return false, true
	}
	g.perIP[a]++
	g.from[c] = a
	return false, false
}

// leave lets a connection out that enter let in.
func (g *gate) leave(c *conn) {
	g.n.Add(-1)
	if g.mostPerIP == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	a, ok := g.from[c]
	if !ok {
		return
	}
	delete(g.from, c)
	if g.perIP[a]--; g.perIP[a] == 0 {
		delete(g.perIP, a)
	}
}
