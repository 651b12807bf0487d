// Package tlslayer is TLS on an event loop, as a decorator of engine.Shard.
//
// Package crypto/tls shakes hands in a goroutine, of which a bounded number run and a
// bounded number wait for their peers (pool.go). After that a connection has no goroutine:
// records are decrypted and encrypted in memory on the thread of the shard, and what a turn sends
// is one record. Either the tls.Conn goes on, which is called standard (standard.go), or with TLS 1.3
// package tlsrecord, which is called compact (compact.go): it keeps 0.8 kB of a connection
// instead of 4 to 23.
//
// A handshake has the time that the shard gives it: Open comes when the connection is
// accepted, and the shard closes what takes too long to send its first packet.
//
// Files, from the bottom up: tlslayer.go, record.go, reason.go, pool.go,
// handshake.go, codec.go, unfinished.go, compact.go, standard.go, new.go.
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

	// Compact tells for which listeners package tlsrecord goes on after a handshake of TLS
	// 1.3, if TLS passes what it returns for a handshake through tlsrecord.Config. It is called as TLS is; nil means for
	// none.
	Compact func(listener int) bool

	// Running is how many handshakes may compute at one time; 0 means one per processor.
	Running int

	// Waiting is how many handshakes may be under way, those that wait for their peers
	// included; 0 means DefaultWaiting. One more ends the one that has waited longest for
	// its peer.
	Waiting int

	// Unfinished is how many bytes of records that are not all here may wait for the
	// rest, as long as it takes; 0 means DefaultUnfinished.
	Unfinished int64

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
	Compact atomic.Uint64 // of those, after which tlsrecord goes on
	Waiting atomic.Int64  // that are under way
	Failed  [reasons]atomic.Uint64

	Unfinished atomic.Uint64 // connections that ended because the rest of a record did not come
}
