package broker

import (
	"log/slog"
	"sync"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
	"midge/internal/rate"
)

// maxAddresses is how many addresses are remembered for their rate: a megabyte, from
// the first connection on. Guess.
const maxAddresses = 1 << 16

// connectRates are the connections of all shards, against the limits of how many
// may come in a time.
type connectRates struct {
	mu        sync.Mutex
	all       rate.Bucket
	listeners [engine.MaxListeners]rate.Bucket
	addresses rate.Table
}

func (r *connectRates) init() { r.addresses = rate.New(maxAddresses) }

// enter counts a connection, or returns which limit it is over. One that is over any
// does not count against the others: who comes too often takes nothing from them.
func (r *connectRates) enter(n engine.Conn, f *inForce, now time.Duration) passage {
	a := f.admit(n)
	if !f.connectRate.On() && !a.connectRate.On() && !a.perIPRate.On() {
		return entered
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &r.listeners[n.Listener()]
	from, perIP := r.from(n, a)
	switch {
	case r.addresses.Wait(from, perIP, now) > 0:
		return overPerIPRate
	case l.Wait(a.connectRate, now) > 0:
		return overListenerRate
	case r.all.Wait(f.connectRate, now) > 0:
		return overRate
	}
	if perIP.On() {
		r.addresses.Take(from, perIP, now)
	}
	l.Take(a.connectRate, 1, now)
	r.all.Take(f.connectRate, 1, now)
	return entered
}

// from is what the limit of an address counts a connection by, and that limit: none for
// one without an address, which is a Unix socket, has gone, or whose proxy has not told it yet.
func (r *connectRates) from(n engine.Conn, a *admission) (from uint64, perIP rate.Limit) {
	if !a.perIPRate.On() {
		return 0, a.perIPRate
	}
	address := n.Remote().Addr()
	switch {
	case !address.IsValid():
		return 0, rate.Limit{}
	case a.ownPerIPRate:
		return r.addresses.NameAt([]byte{byte(n.Listener())}, address), a.perIPRate
	}
	return r.addresses.Address(address), a.perIPRate
}

// place counts a connection by its address that was let in without one.
func (r *connectRates) place(n engine.Conn, f *inForce, now time.Duration) passage {
	r.mu.Lock()
	defer r.mu.Unlock()
	from, perIP := r.from(n, f.admit(n))
	if r.addresses.Wait(from, perIP, now) > 0 {
		return overPerIPRate
	}
	if perIP.On() {
		r.addresses.Take(from, perIP, now)
	}
	return entered
}

// shutOut closes a connection that has just come, without an answer: so it costs as
// little as can be, and of TLS nothing.
func (s *shard) shutOut(c *conn) {
	switch c.passage {
	case overRate:
		s.count.RefusedRate++
	case overListenerRate:
		s.count.RefusedListenerRate++
	default:
		s.count.RefusedPerIPRate++
	}
	s.note(c, line{level: slog.LevelWarn, what: clientRefused, code: packet.ConnectionRateExceeded, reason: c.passage.reason()})
	c.closing = true
	c.net.Abort()
}
