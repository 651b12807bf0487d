package tlslayer

import (
	"cmp"
	"log/slog"
	"runtime"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// Layer is the TLS of an engine's shards.
type Layer struct {
	*layer.Layer
	cfg      Config
	pool     *pool
	counters Counters
}

// New decorates shards. Large buffers come from a pool.
func New(shards []engine.Shard, buffers *bufpool.Pool, cfg Config) *Layer {
	cfg.Running = cmp.Or(cfg.Running, runtime.GOMAXPROCS(0))
	cfg.Waiting = cmp.Or(cfg.Waiting, DefaultWaiting)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	l := &Layer{cfg: cfg, pool: newPool(cfg.Running, cfg.Waiting)}
	l.Layer = layer.New(l, shards, buffers)
	return l
}

// Counters are those of the layer's handshakes.
func (l *Layer) Counters() *Counters { return &l.counters }

// Speaks implements layer.Protocol.
func (l *Layer) Speaks(listener int) bool { return l.cfg.TLS(listener) != nil }

// NewCodec implements layer.Protocol.
func (l *Layer) NewCodec() layer.Codec { return &codec{layer: l} }
