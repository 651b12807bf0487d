package broker

import (
	"log/slog"

	"midge/internal/packet"
)

// turnAway refuses a connection that is over a limit: with an answer to its
// CONNECT, unless too many others wait for theirs.
func (s *shard) turnAway(c *conn) {
	switch c.passage {
	case overAll:
		s.count.RefusedConnections++
	case overListener:
		s.count.RefusedListener++
	default:
		s.count.RefusedPerIP++
	}
	if s.b.gate.refusing.Add(1) <= int64(s.b.cfg.Refusing) {
		s.timers.start(&c.timer, s.now+min(refusalTime, s.settings.admit(c.net).connectTimeout))
		return
	}
	s.closeUnanswered(c)
}

// closeUnanswered closes a connection that is over a limit and can't be told.
func (s *shard) closeUnanswered(c *conn) {
	s.count.RefusedUnanswered++
	s.note(c, line{level: slog.LevelWarn, what: clientRefused, code: packet.QuotaExceeded, reason: c.passage.reason()})
	s.close(c, "refused")
}

// placeAddress counts a connection by its address that was let in without one: a proxy in front of
// a WebSocket tells it with the request, and CONNECT comes behind that.
func (s *shard) placeAddress(c *conn) {
	if !s.handshakes.open[c] || !c.net.Remote().Addr().IsValid() {
		return
	}
	s.handshakes.open[c] = false
	if c.passage = s.b.rates.place(c.net, s.settings, s.now); c.passage != entered {
		s.count.RefusedPerIPRate++
		s.b.gate.putBack(c.net.Listener())
		return
	}
	if c.passage = s.b.gate.place(c, s.settings); c.passage != entered {
		s.count.RefusedPerIP++
	}
}

// turnedAway answers the CONNECT of a connection that was not let in.
func (s *shard) turnedAway(c *conn) bool {
	s.placeAddress(c)
	switch {
	case c.passage >= overRate:
		s.refuse(c, packet.ConnectionRateExceeded, c.passage.reason())
	case c.passage != entered:
		s.refuse(c, packet.QuotaExceeded, c.passage.reason())
	case s.b.stopping.Load():
		s.refuse(c, packet.ServerUnavailable, "the broker stops")
	default:
		return false
	}
	return true
}
