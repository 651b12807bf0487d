//go:build !without_websocket

package app

import (
	"log/slog"

	"midge/internal/broker"
	"midge/internal/bufpool"
	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/engine/wslayer"
)

// webSocketOf is what the requests to a listener must be, for webSocket.
func webSocketOf(l *config.Listener) (any, error) {
	return &wslayer.Listener{Path: l.Addresses[0].Path, Origins: l.WebSocket.Origins, Proxies: l.WebSocket.Proxies()}, nil
}

// webSocket puts WebSocket between the engine, or the layer below, and the shards. by has
// what webSocketOf has made for a listener.
func webSocket(shards []engine.Shard, buffers *bufpool.Pool, by func(listener int) any, log *slog.Logger) layered {
	listener := func(number int) *wslayer.Listener {
		l, _ := by(number).(*wslayer.Listener)
		return l
	}
	l := wslayer.New(shards, buffers, wslayer.Config{Listener: listener, Log: log})
	return layered{l.Shards(), l.Start, l.Decorate, func(c *broker.Counters) {
		from := l.Counters()
		c.WebSockets += from.Done.Load()
		for i := range from.Failed {
			c.WebSocketsRefused += from.Failed[i].Load()
		}
	}}
}
