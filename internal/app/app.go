// Package app wires one running broker from a configuration: engine, shards,
// listeners, shutdown, and the banner that tells of them. It is the only
// package that knows every concrete type.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"midge/internal/broker"
	"midge/internal/config"
)

const (
	// stopWithin is how long the clients may take to be told that the broker
	// stops. It leaves time for wills and for the engine before the 5 seconds
	// end that the documentation promises.
	stopWithin = 2 * time.Second

	// endWithin is how long the engine may take to end after that: a little
	// more than a closed connection may linger (engine.Conn.Close).
	endWithin = 2500 * time.Millisecond

	shardsPerCore = 4  // see docs/design/broker.md
	mostShards    = 64 // a set of shards is one machine word
)

// Broker is one broker with its engine and listeners.
type Broker struct {
	cfg         *config.Loaded
	log         *slog.Logger
	core        *broker.Broker
	network     network
	addresses   []net.Addr
	connections int // the limit in force
}

// New builds a broker and opens its listeners. The kernel keeps clients
// waiting until Run. version is what $SYS/broker/version says.
func New(cfg *config.Loaded, version string, log *slog.Logger) (*Broker, error) {
	b := &Broker{cfg: cfg, log: log}
	if err := b.checkDataDir(); err != nil {
		return nil, err
	}
	files, known := fileLimit()
	limit, warning := connectionLimit(cfg.Limits.Connections, files, known)
	if warning != "" {
		log.Warn(warning)
	}
	b.connections = limit
	core := b.coreConfig(version)
	if err := core.Validate(); err != nil {
		return nil, fmt.Errorf("settings of the broker: %w", err)
	}
	b.core = broker.New(core)
	var err error
	if b.network, err = newNetwork(cfg, b.core.Shards(), log); err != nil {
		return nil, err
	}
	for _, text := range cfg.Listen {
		a, err := listen(b.network, text)
		if err != nil {
			return nil, err
		}
		b.addresses = append(b.addresses, a)
	}
	return b, nil
}

// shards is the number of shards in force.
func (b *Broker) shards() int {
	if b.cfg.Shards > 0 {
		return b.cfg.Shards
	}
	return min(shardsPerCore*runtime.NumCPU(), mostShards)
}

// Run serves until ctx is cancelled, and then stops in order: no more
// connections, DISCONNECT to the clients, the end of the engine. It returns nil
// after a cancellation.
func (b *Broker) Run(ctx context.Context) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	b.core.Start(b.network)
	var tending sync.WaitGroup
	tending.Go(func() { giveBack(running) })
	defer tending.Wait()
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- b.network.Run(running) }()
	select {
	case err := <-ended:
		return errors.Join(errors.New("the engine ended by itself"), err)
	case <-ctx.Done():
	}
	b.log.Info("stopping", "within", stopWithin+endWithin)
	stopping, cancel := context.WithTimeout(running, stopWithin)
	defer cancel()
	if err := b.core.Shutdown(stopping); err != nil {
		b.log.Warn("some clients were not told", "error", err)
	}
	end()
	select {
	case err := <-ended:
		return err
	case <-time.After(endWithin):
		return fmt.Errorf("the engine has not ended within %v", endWithin)
	}
}
