package app

import (
	"errors"
	"log/slog"
	"net"
	"runtime"

	"midge/internal/bufpool"
	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
)

// network is an engine as the wiring sees it: epoll.Engine says what the methods do.
type network interface {
	engine.Runner
	Listen(at engine.Listener) (net.Addr, error)
	Accept(socket net.Addr, at engine.Listener) error
	Unlisten(socket net.Addr) error
	Connections(listener int) int
	Decorate(shard int, with engine.Shard)
	Describe() string
}

// newNetwork returns the engine that the configuration names. auto takes the
// first of epoll and goroutine that this system carries. lingering is how many
// sockets may linger after Closed.
func newNetwork(cfg *config.Loaded, shards []engine.Shard, lingering int, buffers *bufpool.Pool, log *slog.Logger) (network, error) {
	if cfg.Engine != "goroutine" {
		e, err := epoll.New(shards, epoll.Config{Threads: cfg.Threads, Lingering: lingering, Buffers: buffers, Log: log})
		switch {
		case err == nil:
			return e, nil
		case cfg.Engine == "epoll", !errors.Is(err, engine.ErrUnsupported):
			return nil, err
		}
	}
	if cfg.Threads > 0 {
		runtime.GOMAXPROCS(cfg.Threads)
	}
	return gonet.NewEngine(shards, gonet.Config{Lingering: lingering, Log: log}), nil
}
