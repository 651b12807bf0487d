// Package app wires one running broker from a configuration: engine, shards,
// listeners, shutdown, and the banner that describes them. It is the only
// package that knows every concrete type.
//
// Files, from the bottom up: budget.go, connections.go, datadir.go,
// clock_linux.go, clock.go, clock_other.go, part_hook.go,
// part_hook_left_out.go, part_ldap.go, part_ldap_left_out.go, auth.go, bans.go, core.go, disk.go,
// filelimit_unix.go, filelimit_other.go, measure.go, program_linux.go, program_other.go, memory.go,
// network.go, layered.go, tls.go, part_acme.go, part_acme_left_out.go, acme.go,
// part_websocket.go,
// part_websocket_left_out.go, proxies.go, listener.go, fronts.go, layers.go,
// socketfile.go, activation.go, listen.go, turnover.go, app.go, reload.go,
// banner.go.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/bufpool"
	"midge/internal/config"
	"midge/internal/store/pebblestore"
)

const (
	// stopWithin is how long the clients may take to be told that the broker
	// stops. It leaves time for wills and for the engine before the 5 seconds
	// end that the documentation promises.
	stopWithin = 2 * time.Second

	// endWithin is how long the engine may take to end after that: a little
	// more than a closed connection may linger (engine.Conn.Close).
	endWithin = 2500 * time.Millisecond

	shardsPerCore = 4 // see docs/design/broker.md
)

// Broker is one broker with its engine and listeners.
type Broker struct {
	cfg     *config.Loaded
	log     *slog.Logger
	core    *broker.Broker
	access  *access
	counted *auth.Counters // by links of it
	started atomic.Bool    // core can be called from anywhere
	ready   chan struct{}  // closed then
	network network
	disk    *disk
	reloads reloads
	bans    *bans
	files   descriptors
	buffers *bufpool.Pool // for large packets
	acme    getter        // nil: nobody gets certificates

	// What follows changes while the broker runs, with reloads.mu.
	listeners []*listener
	listening []listening
	passed    []*passed              // by systemd
	fronts    atomic.Pointer[fronts] // read by anybody, as
	layers    atomic.Pointer[layers] // is this
}

// New builds a broker and opens its listeners. The kernel keeps clients
// waiting until Run. When ctx is cancelled it does not wait for room on a full
// disk, or for an address. version is what $SYS/broker/version says.
func New(ctx context.Context, cfg *config.Loaded, version string, log *slog.Logger) (*Broker, error) {
	b := &Broker{cfg: cfg, log: log, ready: make(chan struct{}), buffers: bufpool.New(bufpool.MaxIdle)}
	b.reloads.inForce = cfg
	b.files = b.shareFiles(cfg.Limits.Connections)
	if b.files.warning != "" {
		log.Warn(b.files.warning)
	}
	if err := b.makeListeners(); err != nil {
		return nil, err
	}
	if err := b.openACME(version); err != nil {
		return nil, err
	}
	var err error
	if b.access, err = openAccess(cfg, log); err != nil {
		return nil, err
	}
	b.counted = b.access.counters
	if b.bans, err = openBans(BansFile(&cfg.Settings), log); err != nil {
		return nil, err
	}
	core := b.coreConfig(version)
	core.Authenticator = b.access.authenticator()
	core.Count, core.Revoked = b.count, b.revoked
	if b.disk, err = openDisk(ctx, cfg, core.Shards, b.files.tables, log); err != nil {
		return nil, err
	}
	if err := b.build(ctx, core); err != nil {
		return nil, errors.Join(err, b.disk.close())
	}
	return b, nil
}

// shareFiles shares the descriptors out, for as many connections as are wanted.
func (b *Broker) shareFiles(connections int) descriptors {
	files, known := fileLimit()
	return share(connections, files, known, b.shards(), cmp.Or(b.cfg.Threads, runtime.NumCPU()), b.cfg.Durability != "none")
}

// build makes the parts and brings back what is on disk. A database in which
// reading meets damage, or places that the disk does not read, is salvaged, once.
func (b *Broker) build(ctx context.Context, core broker.Config) error {
	err := b.assemble(core)
	if errors.Is(err, pebblestore.ErrCorrupt) || errors.Is(err, pebblestore.ErrUnreadable) {
		b.log.Error("the database is damaged", "error", err)
		if err = b.disk.salvage(b.cfg, core.Shards); err == nil {
			err = b.assemble(core)
		}
	}
	if err != nil {
		return err
	}
	if b.passed, err = passedSockets(os.Getenv, firstPassed); err != nil {
		return err
	}
	if err = b.listenAll(ctx); err != nil {
		b.removeSockets()
	}
	return err
}

// assemble makes the broker and its network, and loads what is on disk.
func (b *Broker) assemble(core broker.Config) (err error) {
	if b.disk != nil {
		core.Store, core.Disk = b.disk.store, b.disk.figures.load
	}
	b.core = broker.New(core, b.coreSettings(b.cfg, b.files.connections))
	b.core.Ban(b.bans.list)
	shards := b.core.Shards()
	between, _ := b.addLayers(layers{}, b.core.Shards(), b.listeners)
	b.layers.Store(between)
	for i, top := range shards {
		shards[i] = between.stack(i, top)
	}
	if b.network, err = newNetwork(b.cfg, shards, b.files.lingering, b.buffers, b.log); err != nil {
		return err
	}
	b.startLayers(between, layers{})
	if b.disk == nil {
		return nil
	}
	b.disk.now = b.network.Now
	if _, err = b.core.Load(b.network.Now()); err != nil {
		ended, end := context.WithCancel(context.Background())
		end()
		return errors.Join(err, b.network.Run(ended)) // that closes it
	}
	return nil
}

// Run serves until ctx is cancelled, and then stops in order: no more
// connections, DISCONNECT to the clients, the end of the engine. It returns nil
// after a cancellation.
func (b *Broker) Run(ctx context.Context) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	if b.disk != nil {
		b.disk.figures.last.Store(b.disk.measured())
		go b.disk.measure(running) // not waited for: a disk may hang
	}
	b.core.Start(b.network)
	b.started.Store(true)
	close(b.ready)
	if b.disk != nil {
		b.disk.core.Store(b.core)
		b.core.StoreChanged() // what the store told before
	}
	if b.acme != nil {
		b.acme.Start(running)
	}
	var background sync.WaitGroup
	background.Go(func() { b.keepCertificates(running) })
	background.Go(func() { b.bans.keep(running, b.core) })
	background.Go(func() { giveBack(running, b.buffers, b.log) })
	background.Go(func() { keepBudget(running, b.core, b.cfg.Limits.Memory, b.log) })
	defer background.Wait()
	defer end()
	committing, endDisk := context.WithCancel(context.WithoutCancel(ctx))
	committed := make(chan struct{})
	go func() {
		b.disk.run(committing)
		close(committed)
	}()
	defer func() {
		endDisk()
		select {
		case <-committed: // what was submitted is on disk
		case <-time.After(endWithin): // it waits for room on a full disk; closing ends that
		}
		closed := b.disk.close()
		<-committed
		if closed != nil {
			b.log.Error("close the store", "error", closed)
		}
	}()
	ended := make(chan error, 1)
	go func() {
		err := b.network.Run(running)
		b.reloads.mu.Lock()
		b.removeSockets()
		b.reloads.mu.Unlock()
		ended <- err
	}()
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
