package gonet_test

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

func TestThreads(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		return serve(t, gonet.New(shards, gonet.Config{}), shards)
	})
}

func TestServeOnEpoll(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
		e, err := epoll.New(shards, epoll.Config{})
		if errors.Is(err, engine.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, e, shards)
	})
}

// serve makes an engine of a runner and a listener that Serve carries.
func serve(t *testing.T, r engine.Runner, shards []engine.Shard) enginetest.Engine {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context) error {
		running, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(running) }()
		err := gonet.Serve(ctx, r, shards, ln, gonet.Config{ReadBuffer: 2 << 10})
		stop()
		return errors.Join(err, <-ended)
	}
	return enginetest.Engine{Runner: r, Addr: ln.Addr().String(), Run: run}
}
