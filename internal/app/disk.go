package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// disk is where a durable broker keeps its state; nil for one that has
// everything in memory.
type disk struct {
	dir     string
	tables  int // that it may have open
	log     *slog.Logger
	stop    <-chan struct{} // closed when the process is to end
	backend *pebblestore.Store
	store   *store.Store
	core    atomic.Pointer[broker.Broker] // set once it is started, nil before
	report  pebblestore.Report
	figures figures
	now     func() time.Duration // of the engine; set before the store is loaded
}

// openDisk opens the data directory that a configuration names, nil if nothing
// is to be durable.
// Once ctx is cancelled nothing waits for room on it.
func openDisk(ctx context.Context, cfg *config.Loaded, shards, tables int, log *slog.Logger) (*disk, error) {
	if cfg.Durability == "none" {
		return nil, nil
	}
	if err := checkDir(cfg.DataDir); err != nil {
		return nil, err
	}
	d := &disk{dir: cfg.DataDir, tables: tables, log: log, stop: ctx.Done()}
	if err := d.open(cfg, shards, false); err != nil {
		return nil, err
	}
	return d, nil
}

// open opens the directory. salvage: the database is known to be damaged.
func (d *disk) open(cfg *config.Loaded, shards int, salvage bool) error {
	health := &store.Health{Changed: func() {
		if core := d.core.Load(); core != nil {
			core.StoreChanged()
		}
	}}
	backend, report, err := pebblestore.Open(d.dir, pebblestore.Options{
		Log: d.log, Salvage: salvage, Stop: d.stop, MaxOpenFiles: d.tables, Trouble: health.Report,
	})
	if err != nil {
		return err // it names the directory
	}
	d.backend, d.report = backend, report
	d.store = store.New(backend, store.Config{
		Shards: shards, Clock: clocks(func() time.Duration { return d.now() }), Log: d.log, Interval: interval(cfg),
		Backlog:   min(backend.Backlog(), 16<<20),
		Committed: func(shard int, turns uint64) { d.core.Load().Committed(shard, turns) },
		Health:    health,
	})
	return nil
}

// salvage opens the directory anew, with what can be read of the database.
func (d *disk) salvage(cfg *config.Loaded, shards int) error {
	if err := d.backend.Close(); err != nil {
		d.log.Error("close the damaged database", "error", err)
	}
	return d.open(cfg, shards, true)
}

// interval is how often what clients were told is synced, 0 for always before
// they are told.
func interval(cfg *config.Loaded) time.Duration {
	if cfg.Durability == "interval" {
		return cfg.DurabilityInterval
	}
	return 0
}

// run commits until ctx is cancelled.
func (d *disk) run(ctx context.Context) {
	if d != nil {
		d.store.Run(ctx)
	}
}

// close ends the use of the directory.
func (d *disk) close() error {
	if d == nil {
		return nil
	}
	return d.backend.Close()
}
