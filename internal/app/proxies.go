package app

import (
	"log/slog"

	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/engine/proxylayer"
)

// proxied puts the PROXY protocol between the engine and the shards of a core.
func proxied(core *broker.Broker, shards []engine.Shard, by func(listener int) *proxylayer.Listener, log *slog.Logger) layered {
	l := proxylayer.New(shards, proxylayer.Config{Listener: by, Enter: core.Reserve, Leave: core.Unreserve, Log: log})
	return layered{l.Shards(), l.Start, l.Decorate, func(c *broker.Counters) {
		n := l.Counters()
		c.RefusedProxy += n.Untrusted.Load() + n.Invalid.Load() + n.Late.Load()
		c.RefusedConnections += n.Full.Load()
	}}
}
