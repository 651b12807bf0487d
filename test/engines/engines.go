// Package engines makes each of the engines that this system carries, for tests of what
// stands between engines and shards.
package engines

import (
	"context"
	"errors"
	"net"
	"testing"

	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
)

// Kinds are the engines that New makes.
var Kinds = []string{"epoll", "goroutine"}

// New makes an engine with a listener on a loopback address.
func New(t *testing.T, kind string, at engine.Listener, shards []engine.Shard) enginetest.Engine {
	t.Helper()
	at.Network, at.Address = "tcp", "127.0.0.1:0"
	if kind == "goroutine" {
		return goroutine(t, at, shards)
	}
	e, err := epoll.New(shards, epoll.Config{})
	if errors.Is(err, engine.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	addr, err := e.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	return enginetest.Engine{Runner: e, At: at, Addr: addr.String(), Run: e.Run}
}

func goroutine(t *testing.T, at engine.Listener, shards []engine.Shard) enginetest.Engine {
	t.Helper()
	r := gonet.New(shards, gonet.Config{})
	ln, err := net.Listen(at.Network, at.Address)
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context) error {
		running, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(running) }()
		err := gonet.Serve(ctx, r, shards, ln, gonet.Config{Listener: at.Number, Name: at.Name})
		stop()
		return errors.Join(err, <-ended)
	}
	return enginetest.Engine{Runner: r, At: at, Addr: ln.Addr().String(), Run: run}
}
