package broker

import (
	"testing"
	"time"

	"midge/internal/store"
)

// prompt is a store that commits at once, unless it is in trouble.
type prompt struct{ *store.Store }

func (p prompt) Submit(shard int, t *store.Turn) uint64 {
	n := p.Store.Submit(shard, t)
	if p.Err() == nil {
		p.Step()
		p.StepReads()
	}
	return n
}

func (p prompt) Fetch(f *store.Fetch) {
	p.Store.Fetch(f)
	p.StepReads()
}

// storedWorld makes a broker with a store on a backend; load begins it. The store
// commits at once, or else by Step. Shards and Committed are set here.
func storedWorld(t testing.TB, backend store.Backend, cfg setup, stored store.Config, now time.Duration, atOnce bool) (*world, *store.Store) {
	t.Helper()
	var core *Broker
	stored.Shards = cfg.Shards
	stored.Committed = func(shard int, turns uint64) { core.Committed(shard, turns) }
	st := store.New(backend, stored)
	if cfg.Store = st; atOnce {
		cfg.Store = prompt{st}
	}
	core = New(cfg.Config, cfg.Core)
	return &world{t: t, b: core, now: now, posts: make(chan func(), 1024), sips: map[int]bool{}}, st
}

// load begins the broker on what the disk has: some damaged records, and all else.
func (w *world) load(damaged int) {
	w.t.Helper()
	if records, err := w.b.Load(w.now); err != nil || len(records) != damaged {
		w.t.Fatalf("load: %v, damaged %v, want %d", err, records, damaged)
	}
	w.b.Start(w)
}

// onShards begins a broker with some shards on a backend.
func onShards(t *testing.T, backend store.Backend, cfg setup, atOnce bool) (*world, *store.Store) {
	t.Helper()
	cfg.Sys.Interval = 0
	w, st := storedWorld(t, backend, cfg, store.Config{Clock: store.NewClock(time.Unix(1_800_000_000, 0), time.Second)}, time.Second, atOnce)
	w.load(0)
	return w, st
}

// onStore begins a broker with one shard on a backend, at a time of the wall clock.
func onStore(t *testing.T, backend store.Backend, wall time.Time, atOnce bool, change ...func(*setup)) (*world, *store.Store) {
	t.Helper()
	w, st := storedWorld(t, backend, quietly(1, change...), store.Config{Clock: store.NewClock(wall, time.Second)}, time.Second, atOnce)
	w.load(0)
	return w, st
}
