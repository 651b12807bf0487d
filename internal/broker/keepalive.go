package broker

import (
	"time"

	"midge/internal/packet"
)

// patience is how long the client may be silent (MQTT-3.1.2-22); 0: for ever.
func (c *conn) patience() time.Duration { return time.Duration(c.keepAlive) * time.Second * 3 / 2 }

// keepAliveClause is where a version asks for the end of silent connections.
func keepAliveClause(v packet.Version) string {
	switch v {
	case packet.V5:
		return "v5/MQTT-3.1.2-22"
	case packet.V311:
		return "v311/MQTT-3.1.2-24"
	}
	return "v31/3.1"
}

// due is when a client has been silent or slow for too long.
func (s *shard) due(c *conn) time.Duration {
	due := forever
	switch {
	case c.keepAlive > 0 && c.waits != 0: // we don't listen, so its silence says nothing
		due = s.now + c.patience()
	case c.keepAlive > 0:
		due = time.Duration(c.lastInput)*tick + c.patience()
	}
	if c.pace != inTime {
		due = min(due, s.slow.lagging[c].look)
	}
	return due
}

// keepAlive is the Keep Alive in force; 0 means none.
func (s *shard) keepAlive(p *packet.Connect, ack *packet.Connack) time.Duration {
	asked := time.Duration(p.KeepAlive) * time.Second
	limit := s.settings.Session.KeepAlive
	if p.Version != packet.V5 || limit == 0 || asked > 0 && asked <= limit {
		return asked
	}
	ack.Properties.ServerKeepAlive = uint16(limit / time.Second)
	ack.Properties.Set(packet.PropServerKeepAlive)
	return limit
}
