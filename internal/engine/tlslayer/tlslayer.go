// Package tlslayer is TLS on an event loop, as a decorator of engine.Shard.
//
// Package crypto/tls shakes hands in a goroutine, of which a bounded number run and a
// bounded number wait for their peers (pool.go). After that a connection has no goroutine:
// its tls.Conn reads records from memory on the thread of the shard, and what a turn sends
// is one Write.
//
// A handshake has the time that the shard gives it: Open comes when the connection is
// accepted, and the shard closes what takes too long to send its first packet.
//
// Files, from the bottom up: tlslayer.go, record.go, reason.go, pool.go,
// handshake.go, codec.go, new.go.
package tlslayer

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"
)

// Config is what the layer goes by.
type Config struct {
	// TLS returns the configuration of a listener, nil for one without TLS. It is
	// called for each new connection, on the threads of shards. DynamicRecordSizingDisabled
	// should be set: small records are many records.
	TLS func(listener int) *tls.Config

	// Running is how many handshakes may compute at one time; 0 means one per processor.
	Running int

	// Waiting is how many handshakes may be under way, those that wait for their peers
	// included; 0 means DefaultWaiting. One more ends the one that has waited longest for
	// its peer.
	Waiting int

	// Log gets what went wrong with a handshake, at level Debug; nil means
	// slog.Default().
	Log *slog.Logger
}

// DefaultWaiting handshakes may be under way. Each of them holds about 30 kB. Guess.
const DefaultWaiting = 1024

// Counters are updated when a handshake begins and when it ends. Safe from any
// goroutine.
type Counters struct {
	Done    atomic.Uint64 // handshakes that succeeded
	Resumed atomic.Uint64 // of those, with a ticket
	Waiting atomic.Int64  // that are under way
	Failed  [reasons]atomic.Uint64
}
