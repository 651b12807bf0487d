package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"runtime"
	"syscall"

	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
)

// network is an engine as the wiring sees it.
type network interface {
	engine.Runner
	Listen(addr string) (net.Addr, error)
	Describe() string
}

// newNetwork returns the engine that the configuration names. auto takes the
// first of epoll and goroutine that this system carries.
func newNetwork(cfg *config.Loaded, shards []engine.Shard, log *slog.Logger) (network, error) {
	if cfg.Engine != "goroutine" {
		e, err := epoll.New(shards, epoll.Config{Threads: cfg.Threads, Log: log})
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
	return newGoroutines(shards, gonet.Config{Log: log}), nil
}

// listen opens a listener and explains why it could not.
func listen(n network, text string) (net.Addr, error) {
	addr, err := config.ListenAddress(text)
	if err != nil {
		return nil, err
	}
	a, err := n.Listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp://%s: %s", addr, listenCause(addr, err))
	}
	return a, nil
}

// listenCause turns the error of a listener into what to do about it.
func listenCause(addr string, err error) string {
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("another process, perhaps another broker, uses port %s already ('ss -ltnp sport = :%s' shows which); stop it, or choose another port with --listen", port, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address; :" + port + " is every address it has"
	case errors.Is(err, syscall.EACCES), errors.Is(err, fs.ErrPermission):
		return "not allowed; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
	}
	return err.Error()
}
