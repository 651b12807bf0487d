package wslayer

import (
	"cmp"
	"log/slog"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/layer"
)

// Layer is the WebSocket of an engine's shards.
type Layer struct {
	*layer.Layer
	cfg      Config
	counters Counters
}

// New decorates shards. Large buffers come from a pool.
func New(shards []engine.Shard, buffers *bufpool.Pool, cfg Config) *Layer {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	l := &Layer{cfg: cfg}
	l.Layer = layer.New(l, shards, buffers)
	return l
}

// Counters are those of the layer's requests.
func (l *Layer) Counters() *Counters { return &l.counters }

// Speaks implements layer.Protocol.
func (l *Layer) Speaks(listener int) bool { return l.cfg.Listener(listener) != nil }

// Turn implements layer.Protocol.
func (l *Layer) Turn(int, time.Duration) time.Duration { return engine.Never }

// NewCodec implements layer.Protocol. The address of a proxy is not that of a client, which
// comes with the request.
func (l *Layer) NewCodec(raw engine.Conn) layer.Codec {
	k := &codec{}
	if at := l.cfg.Listener(raw.Listener()); at != nil && len(at.Proxies) > 0 && at.trusts(raw.Remote().Addr()) {
		k.conn.Over(&viaProxy{Conn: raw})
	}
	return k
}
