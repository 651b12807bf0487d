package tlslayer

import (
	"cmp"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// Layer is the TLS of an engine's shards.
type Layer struct {
	*layer.Layer
	cfg      Config
	buffers  *bufpool.Pool
	pool     *pool
	shards   []shard
	counters Counters

	unfinished atomic.Int64 // bytes of records that are not all here
}

// New decorates shards. Large buffers come from a pool.
func New(shards []engine.Shard, buffers *bufpool.Pool, cfg Config) *Layer {
	cfg.Running = cmp.Or(cfg.Running, runtime.GOMAXPROCS(0))
	cfg.Waiting = cmp.Or(cfg.Waiting, DefaultWaiting)
	cfg.Unfinished = cmp.Or(cfg.Unfinished, DefaultUnfinished)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Compact == nil {
		cfg.Compact = func(int) bool { return false }
	}
	l := &Layer{cfg: cfg, pool: newPool(cfg.Running, cfg.Waiting), shards: make([]shard, len(shards))}
	l.buffers = buffers
	l.Layer = layer.New(l, shards, buffers)
	return l
}

// Counters are those of the layer's handshakes.
func (l *Layer) Counters() *Counters { return &l.counters }

// Speaks implements layer.Protocol.
func (l *Layer) Speaks(listener int) bool { return l.cfg.TLS(listener) != nil }

// Turn implements layer.Protocol.
func (l *Layer) Turn(shard int, now time.Duration) time.Duration {
	s := &l.shards[shard]
	return l.makeRoom(s, now, s.turn(now))
}

// NewCodec implements layer.Protocol.
func (l *Layer) NewCodec(engine.Conn) layer.Codec {
	k := &codec{}
	k.mode = &standard{layer: l, codec: k, conn: &k.conn}
	return k
}
