package broker

import (
	"log/slog"

	"midge/internal/ban"
	"midge/internal/packet"
)

// sweptAtOnce is how many connections a shard looks at in a call, for those that are
// banned since. Guess: asking for an address costs a system call.
const sweptAtOnce = 256

// Ban says who may not connect from now on: all before it are forgotten. Those that are
// connected are ended, some in each turn. Safe from any goroutine, once the broker
// has started; before it, of those that connect the ones that are banned are refused.
func (b *Broker) Ban(list *ban.List) {
	b.bans.Store(list)
	if b.runner == nil {
		return
	}
	for i, s := range b.shards {
		b.runner.Post(i, s.sweepBanned)
	}
}

// bannedAddress returns the ban of a connection's address. It asks for that only if
// addresses are banned.
func (s *shard) bannedAddress(c *conn) *ban.Ban {
	list := s.b.bans.Load()
	if !list.Addresses() {
		return nil
	}
	return list.Address(c.net.Remote().Addr())
}

// refuseBanned refuses a CONNECT if who sends it is banned: by its address, which
// is known late behind some proxies, by a client identifier, or by one of its names.
func (s *shard) refuseBanned(c *conn, id string, names ...string) bool {
	b := s.bannedAddress(c)
	list := s.b.bans.Load()
	if b == nil {
		b = list.Client(id)
	}
	for _, name := range names {
		if b == nil {
			b = list.User(name)
		}
	}
	if b == nil {
		return false
	}
	s.count.RefusedBanned++
	s.refuse(c, packet.Banned, b.Why())
	return true
}

// sweepBanned ends the clients of the shard that are banned. Those whose CONNECT has
// no answer yet are looked at before they get one: see claim.
func (s *shard) sweepBanned() {
	if s.b.bans.Load().Len() == 0 {
		return
	}
	var all []*conn
	for cl := range s.clients.All {
		if cl.conn != nil {
			all = append(all, cl.conn)
		}
	}
	s.sweep(all)
}

// sweep looks at some of the connections, and at the rest in later turns.
func (s *shard) sweep(all []*conn) {
	s.readClock()
	n := min(len(all), sweptAtOnce)
	for _, c := range all[:n] {
		s.endBanned(c)
	}
	if rest := all[n:]; len(rest) > 0 {
		s.b.runner.Post(s.index, func() { s.sweep(rest) })
	}
}

// endBanned ends the connection of a client that is banned. Its will is published, as
// that of any client whose connection is ended (MQTT-3.1.2-8).
func (s *shard) endBanned(c *conn) {
	cl := c.client
	if c.closing || cl == nil {
		return
	}
	list := s.b.bans.Load()
	b := s.bannedAddress(c)
	if b == nil {
		b = list.Client(cl.clientID())
	}
	if b == nil {
		b = list.User(cl.Identity().Name())
	}
	if b != nil {
		s.count.ClosedBanned++
		s.end(c, packet.AdministrativeAction, b.Why())
	}
}

// shutOutBanned closes a connection from an address that is banned, without an answer.
func (s *shard) shutOutBanned(c *conn) bool {
	b := s.bannedAddress(c)
	if b == nil {
		return false
	}
	s.count.RefusedBanned++
	s.note(c, line{level: slog.LevelWarn, what: clientRefused, code: packet.Banned, reason: b.Why()})
	c.closing = true
	c.net.Abort()
	return true
}
