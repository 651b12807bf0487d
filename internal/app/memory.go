package app

import (
	"context"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"midge/internal/bufpool"
)

const (
	// quietEvery is how often the process looks whether it is quiet.
	quietEvery = time.Second

	// quietBytes allocated in that time, and less, are quiet: a broker that
	// only answers pings and publishes $SYS stays below.
	quietBytes = 256 << 10

	// worthBytes allocated since memory was given back last make it worth to
	// do so again. Collecting a heap of 10 MB costs 5 ms of CPU time.
	worthBytes = 2 << 20
)

// giveBack returns memory to the system when a storm or the start is over,
// until ctx is cancelled. The runtime keeps as much again as is in use, which
// is right under load. A gateway that has taken its clients on and then waits
// should not hold it.
func giveBack(ctx context.Context, buffers *bufpool.Pool, log *slog.Logger) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	allocated := func() uint64 { // what a pool lets go counts, too: it was allocated long ago
		metrics.Read(sample)
		return sample[0].Value.Uint64() + buffers.Trimmed()
	}
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	before, given, started := allocated(), uint64(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := allocated()
		if now-before < quietBytes && (!started || now-given > worthBytes) {
			started = true
			runtime.GC() // what pools hold goes with the second collection
			debug.FreeOSMemory()
			if err := dropProgram(); err != nil {
				log.Debug("give back the pages of the program", "error", err)
			}
			given = allocated()
		}
		before = now
	}
}
