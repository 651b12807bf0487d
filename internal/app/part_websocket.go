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

// webSocket puts WebSocket between the engine, or the layer below, and the shards.
func webSocket(shards []engine.Shard, buffers *bufpool.Pool, listeners []config.Listener, log *slog.Logger) (layered, error) {
	all := map[int]*wslayer.Listener{}
	for number := range listeners {
		l := &listeners[number]
		if scheme := schemeOf(l); scheme != "ws" && scheme != "wss" {
			continue
		}
		all[number] = &wslayer.Listener{Path: l.Addresses[0].Path, Origins: l.WebSocket.Origins, Proxies: l.WebSocket.Proxies()}
	}
	l := wslayer.New(shards, buffers, wslayer.Config{Listener: func(n int) *wslayer.Listener { return all[n] }, Log: log})
	return layered{l.Shards(), l.Start, func(c *broker.Counters) {
		from := l.Counters()
		c.WebSockets += from.Done.Load()
		for i := range from.Failed {
			c.WebSocketsRefused += from.Failed[i].Load()
		}
	}}, nil
}
