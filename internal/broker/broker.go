// Package broker is the core: shards that own connections and sessions, and
// the routing of application messages between them.
//
// A shard (see engine.Shard) runs on one thread at a time and has no locks for
// what it owns: connections, sessions, timers, and its part of package routing. It
// holds parts that own their state, and conducts them: see shard.Turn. Three
// structures belong to all shards and have locks: interest and shared
// subscriptions in package routing, and the messages of package retained;
// docs/design/broker.md says why. The package does no I/O: an engine moves the
// bytes.
//
// Files, from the bottom up: config.go, settings.go, counters.go, timer.go,
// identity.go, client.go, conn.go, keepalive.go, fault.go, authentication.go, names.go, mount.go,
// handshake.go, gate.go, store.go, clock.go, asking.go, work.go, clientlog.go, rates.go, memory.go,
// arrival.go, slow.go, output.go, promise.go, durable.go, journal.go,
// commit.go, mailbox.go, consumer.go, delivery.go, ack.go, fanout.go,
// groupqueue.go, group.go, handover.go, dealing.go, inbox.go, publish.go,
// walk.go, will.go, subscribe.go, expiry.go, lapse.go, meter.go, disconnect.go, bans.go, review.go, guard.go,
// limits.go, pressure.go, contest.go, connect.go, drain.go, connecting.go,
// reauthentication.go, input.go, sys.go, apply.go, shard.go, load.go, shutdown.go, broker.go.
package broker

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"midge/internal/ban"
	"midge/internal/engine"
	"midge/internal/retained"
	"midge/internal/routing"
	"midge/internal/settings"
)

// Broker is an MQTT broker without its network.
type Broker struct {
	cfg         Config
	shards      []*shard
	runner      engine.Runner
	running     chan struct{} // closed by Start
	interest    *routing.Interest[*client]
	retained    *retained.Messages
	gate        gate
	rates       connectRates
	totals      totals
	bans        atomic.Pointer[ban.List]
	memory      memory
	clients     clientLog
	batches     batchPool
	stopping    atomic.Bool
	stalled     atomic.Uint64          // shards whose publishers wait for the disk
	names       atomic.Uint64          // of assigned client ids
	damaged     uint64                 // records that the start could not read
	trouble     atomic.Pointer[string] // the last of the store
	brokenFiles atomic.Uint64          // see CountBrokenFiles
	process     string                 // part of assigned client ids, so that those of another process are others
}

// New returns a broker. first are the settings to begin with, which must be
// within the ranges that package settings has for them. How many connections the
// limit of open files allows is not known here: Limits.Connections says it.
func New(cfg Config, first settings.Core) *Broker {
	b := &Broker{cfg: cfg.orNone(), running: make(chan struct{})}
	f := follow(first)
	b.process = strconv.FormatUint(uint64(time.Now().UnixNano()), 36)
	b.interest = routing.NewInterest[*client]()
	b.retained = retained.New(b.cfg.Store, ownTopic)
	f.limitRetained(b.retained)
	b.gate.init()
	b.gate.limit.Store(int64(f.Limits.Connections))
	b.rates.init()
	b.memory.init()
	b.memory.arrivals.init()
	b.clients.init(b.cfg.Logger)
	for i := range b.cfg.Shards {
		b.shards = append(b.shards, newShard(b, i, f))
	}
	return b
}

// Shards returns the broker's shards in their order, for an engine to run.
func (b *Broker) Shards() []engine.Shard {
	all := make([]engine.Shard, len(b.shards))
	for i, s := range b.shards {
		all[i] = s
	}
	return all
}

// Start gives the broker what runs its shards. Call it before r.Run.
func (b *Broker) Start(r engine.Runner) {
	b.runner = r
	b.shards[0].startSys()
	b.shards[0].sweeper.start(b.shards[0])
	if b.cfg.Store != nil {
		for i := range b.shards {
			r.Wake(i) // for the timers of what was loaded
		}
	}
}

// Shutdown ends all connections with the reason that the broker stops, and publishes what the
// standard wants published then; ctx bounds it, and so do 5 seconds. The
// engine must still run. The caller ends it afterwards.
func (b *Broker) Shutdown(ctx context.Context) error { return b.shutdown(ctx) }
