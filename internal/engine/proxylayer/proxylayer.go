// Package proxylayer is the PROXY protocol, versions 1 and 2
// (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt): a proxy in front of the
// broker says in a header who the client is. It decorates engine.Shard on an event loop.
// The inner shard gets a connection when the header is there, and sees the client's
// address; it gets none whose header is missing. Connections of listeners without the
// protocol pass untouched.
//
// Files, from the bottom up: header.go, conn.go, proxylayer.go, shard.go.
package proxylayer

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"midge/internal/engine"
)

// Config is what the layer goes by.
type Config struct {
	// Listener returns what holds for a listener, nil for one without the protocol. It is
	// called for each new connection, on the threads of shards.
	Listener func(listener int) *Listener

	// Enter counts a connection that waits for its header, against a limit, and
	// reports false if it is over that. Leave takes it out of the count, before the inner shard
	// gets it. nil: there is no limit. They are called on the threads of shards.
	Enter func() bool
	Leave func()

	// Log gets who was refused, at level Debug; nil means slog.Default().
	Log *slog.Logger
}

// Listener is what a listener asks of proxies.
type Listener struct {
	Proxies []netip.Prefix // that are believed. One that comes by a Unix socket is.
	Timeout time.Duration  // for the header
}

// trusts reports whether a proxy is believed.
func (l *Listener) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return true // the mode of the file decides who may connect
	}
	return slices.ContainsFunc(l.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Counters are updated when a connection is refused. Safe from any goroutine.
type Counters struct {
	Untrusted atomic.Uint64 // from an address that is no proxy's
	Invalid   atomic.Uint64 // without a header, or with one that is not right
	Late      atomic.Uint64 // whose header did not come in time
	Full      atomic.Uint64 // over the limit
}

// Layer is the PROXY protocol of an engine's shards.
type Layer struct {
	cfg      Config
	counters Counters
	runner   engine.Runner
	shards   []engine.Shard
}

// New decorates shards.
func New(shards []engine.Shard, cfg Config) *Layer {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Enter == nil {
		cfg.Enter, cfg.Leave = func() bool { return true }, func() {}
	}
	l := &Layer{cfg: cfg}
	for _, inner := range shards {
		l.shards = append(l.shards, &shard{layer: l, inner: inner, waiting: map[*conn]time.Duration{}})
	}
	return l
}

// Shards are the decorated shards, for the engine.
func (l *Layer) Shards() []engine.Shard { return l.shards }

// Decorate puts another shard between the layer and one of its shards, or takes it away: connections
// that are open stay as they are. Call it on the shard's thread, or before the engine runs.
func (l *Layer) Decorate(number int, inner engine.Shard) { l.shards[number].(*shard).inner = inner }

// Start tells the layer who runs the shards. Call it before the engine runs.
func (l *Layer) Start(r engine.Runner) { l.runner = r }

// Counters are those of refused connections.
func (l *Layer) Counters() *Counters { return &l.counters }
