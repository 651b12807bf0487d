//go:build without_websocket

package app

import (
	"fmt"
	"log/slog"
	"slices"

	"midge/internal/bufpool"
	"midge/internal/config"
	"midge/internal/engine"
)

// webSocket refuses to start: the part was left out.
func webSocket(_ []engine.Shard, _ *bufpool.Pool, listeners []config.Listener, _ *slog.Logger) (layered, error) {
	i := slices.IndexFunc(listeners, func(l config.Listener) bool { return schemeOf(&l) == "ws" || schemeOf(&l) == "wss" })
	return layered{}, fmt.Errorf("listen on %s: this binary was built without the part websocket; 'make build' builds all parts", listeners[i].Listener.Address)
}
