//go:build without_websocket

package app

import (
	"fmt"
	"log/slog"

	"midge/internal/bufpool"
	"midge/internal/config"
	"midge/internal/engine"
)

// webSocketOf refuses a listener with WebSocket: the part was left out.
func webSocketOf(l *config.Listener) (any, error) {
	return nil, fmt.Errorf("listen on %s: this binary was built without the part websocket; 'make build' builds all parts", l.Listener.Address)
}

// webSocket is never called, since webSocketOf has refused.
func webSocket([]engine.Shard, *bufpool.Pool, func(listener int) any, *slog.Logger) layered {
	panic("the part websocket was left out")
}
