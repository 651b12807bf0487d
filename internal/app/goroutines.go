package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"midge/internal/engine"
	"midge/internal/engine/gonet"
)

// goroutines is the network of every system: package gonet with listeners.
type goroutines struct {
	*gonet.Threads
	shards    []engine.Shard
	cfg       gonet.Config
	listeners []accepting
}

// accepting is a listener of goroutines.
type accepting struct {
	net.Listener
	at engine.Listener
}

func newGoroutines(shards []engine.Shard, cfg gonet.Config) *goroutines {
	return &goroutines{Threads: gonet.New(shards, cfg), shards: shards, cfg: cfg}
}

// Listen implements network.
func (g *goroutines) Listen(at engine.Listener) (net.Addr, error) {
	l, err := openListener(at)
	if err != nil {
		return nil, err
	}
	g.listeners = append(g.listeners, accepting{l, at})
	return l.Addr(), nil
}

// openListener opens a listener, or copies one that is open.
func openListener(at engine.Listener) (net.Listener, error) {
	if at.Socket != nil {
		return net.FileListener(at.Socket)
	}
	if at.Network != "unix" {
		return net.Listen(at.Network, at.Address)
	}
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { narrow(fd, at.Mode) })
	}}
	l, err := cfg.Listen(context.Background(), at.Network, at.Address)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if at.Address[0] != '@' {
		err = os.Chmod(at.Address, at.Mode.Perm())
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Describe implements network.
func (g *goroutines) Describe() string {
	return fmt.Sprintf("goroutine, one or two for each connection, %d shards", len(g.shards))
}

// Run runs the shards, and on them the connections of all listeners, which end
// before the shards do. The first listener that breaks ends the others, and
// its error is returned.
func (g *goroutines) Run(ctx context.Context) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	threads := make(chan error, 1)
	go func() { threads <- g.Threads.Run(running) }()

	serving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	cfg := g.cfg
	cfg.Lingering = max(cfg.Lingering/max(len(g.listeners), 1), 1)
	for _, l := range g.listeners {
		cfg := cfg
		cfg.Listener, cfg.Name = l.at.Number, l.at.Name
		wg.Go(func() {
			if err := gonet.Serve(serving, g.Threads, g.shards, l, cfg); err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	end()
	broken := context.Cause(serving)
	if errors.Is(broken, context.Canceled) {
		broken = nil
	}
	return errors.Join(broken, <-threads)
}
