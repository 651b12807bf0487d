package mqtt3

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"midge/internal/broker"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
	"midge/internal/store/storetest"
)

// disk is where a durable broker keeps its state, with durability = commit;
// nil for one that has everything in memory.
type disk struct {
	backend   *pebblestore.Store
	store     *store.Store
	core      atomic.Pointer[broker.Broker]
	end       context.CancelFunc
	committed chan struct{} // closed when nothing is committed any more
}

// openDisk opens a data directory for a broker with so many shards. It pauses as
// storetest.Late does.
func openDisk(shards int, dir string, pause func()) (*disk, error) {
	d := &disk{committed: make(chan struct{})}
	backend, report, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		return nil, err
	}
	if len(report.Damage) > 0 {
		return nil, errors.Join(fmt.Errorf("a data directory is damaged: %+v", report), backend.Close())
	}
	d.backend = backend
	d.store = store.New(storetest.NewLate(backend, pause), store.Config{
		Shards: shards, Clock: store.NewClock(time.Now(), 0),
		Committed: func(shard int, turns uint64) { d.core.Load().Committed(shard, turns) },
	})
	return d, nil
}

// load gives a broker what is on disk, and begins to commit.
func (d *disk) load(core *broker.Broker, now time.Duration) error {
	if d == nil {
		return nil
	}
	d.core.Store(core)
	damaged, err := core.Load(now)
	if err != nil || len(damaged) > 0 {
		return errors.Join(err, fmt.Errorf("damaged records: %+v", damaged))
	}
	var ctx context.Context
	ctx, d.end = context.WithCancel(context.Background())
	go func() {
		d.store.Run(ctx)
		close(d.committed)
	}()
	return nil
}

// close ends the use of the directory.
func (d *disk) close() error {
	if d == nil {
		return nil
	}
	d.end()
	<-d.committed
	return d.backend.Close()
}
