package broker

import (
	"midge/internal/engine"
	"midge/internal/packet"
)

// review looks again at who is connected, some clients in each turn.
type review struct {
	on     bool
	cursor uint64  // of shard.clients
	ends   []*conn // found in this turn
}

// Review has those ended whose certificates have been revoked since they connected, as
// Config.Revoked says from now on. It returns at once: each shard looks at some of its
// clients in each turn.
func (b *Broker) Review() {
	if b.cfg.Revoked == nil {
		return
	}
	for i, s := range b.shards {
		b.runner.Post(i, func() { s.review = review{on: true} })
	}
}

// goOnReviewing looks at more clients, and reports whether there are more.
func (s *shard) goOnReviewing() (more bool) {
	r := &s.review
	if !r.on {
		return false
	}
	r.cursor, r.on = s.clients.Scan(r.cursor, func(cl *client) {
		if c := cl.conn; c != nil && !c.closing && s.b.cfg.Revoked(c.net) != nil {
			r.ends = append(r.ends, c)
		}
	})
	for _, c := range r.ends { // which may change the table
		s.count.Revoked++
		s.end(c, packet.NotAuthorized, revokedReason)
	}
	r.ends = nil
	return r.on
}

const revokedReason = "its certificate has been revoked"

// revoked reports whether a CONNECT must be refused. It is asked right before the client is among
// those that Review looks at, so that none slips through.
func (s *shard) revoked(n engine.Conn) bool {
	if s.b.cfg.Revoked == nil || s.b.cfg.Revoked(n) == nil {
		return false
	}
	s.count.Revoked++
	return true
}
