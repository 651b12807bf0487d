// Package epoll is the engine for plain TCP on Linux: event loops that read
// with epoll and write with io_uring where the kernel allows it.
//
// It runs engine.Shards on one thread while one thread is enough, and on up to
// one thread per core when it is not. It knows no MQTT. Everything that it
// calls on a shard runs on the thread that holds the shard's token; see
// docs/design/engine.md for how shards travel between threads, and package
// engine for the contract.
//
// Files, from the bottom up: config.go, sys_linux.go, ring_linux.go,
// pending_linux.go, record_linux.go, output_linux.go,
// input_linux.go, linger_linux.go, shard_linux.go, conn_linux.go,
// listen_linux.go, calm_linux.go, poller_linux.go, engine_linux.go,
// engine_other.go.
package epoll

import (
	"cmp"
	"log/slog"
	"runtime"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// Config tunes an Engine. The zero value is ready for use.
type Config struct {
	// Threads is the largest number of threads that run shards; 0 means one
	// per core. There are never more threads than shards.
	Threads int

	// NoUring makes the engine send with send(2) also where io_uring works.
	NoUring bool

	// ReadBuffer is the size in bytes of the one buffer into which a thread
	// reads all its sockets; 0 means 64 KiB, and 4 KiB is the least.
	ReadBuffer int

	// Buffers is the pool for what is large; nil means one of its own.
	Buffers *bufpool.Pool

	// Backlog is the length of the queue of connections that the kernel has
	// accepted and the engine has not; 0 means 4096. The kernel caps it at
	// net.core.somaxconn.
	Backlog int

	// Lingering is how many sockets may linger after Closed, shared out equally
	// over the shards, at least one for each; 0 means engine.MaxLingering.
	Lingering int

	// Log gets what an operator should know; nil means slog.Default().
	Log *slog.Logger
}

// minReadBuffer leaves room for the end of a packet behind the largest
// beginning that is copied in front of it (see frontBytes).
const minReadBuffer = 4 << 10

func (c Config) withDefaults(shards int) Config {
	c.Threads = min(cmp.Or(c.Threads, runtime.NumCPU()), shards)
	c.ReadBuffer = max(cmp.Or(c.ReadBuffer, 64<<10), minReadBuffer)
	c.Backlog = cmp.Or(c.Backlog, 4096)
	c.Lingering = max(cmp.Or(c.Lingering, engine.MaxLingering), shards)
	if c.Buffers == nil {
		c.Buffers = bufpool.New(bufpool.MaxIdle)
	}
	c.Log = cmp.Or(c.Log, slog.Default())
	return c
}
