package loop

import "sync/atomic"

// Counters count since the start of the engine. Its threads write them and
// anybody may read them.
type Counters struct {
	Accepts     atomic.Uint64 // connections accepted
	Open        atomic.Int64  // connections open now
	Refused     atomic.Uint64 // accepts that failed for want of file descriptors
	Turns       atomic.Uint64 // turns of threads
	ShardTurns  atomic.Uint64 // turns of shards
	Wakeups     atomic.Uint64 // sleeping threads woken by another thread
	Handovers   atomic.Uint64 // shards moved between threads
	Moves       atomic.Uint64 // connections moved between shards
	Receives    atomic.Uint64 // receives that returned bytes
	Sends       atomic.Uint64 // writes of one connection's output
	Batches     atomic.Uint64 // batches that carried Sends
	Blocked     atomic.Uint64 // writes of which the system took only a part
	BytesIn     atomic.Uint64
	BytesOut    atomic.Uint64
	ThreadsBusy atomic.Int64 // threads that own shards now
}

// Tally is what a thread counts in a turn, before it is added to the Counters.
type Tally struct {
	ShardTurns, Moves, Receives, Sends, Batches, Blocked, BytesIn, BytesOut uint64
}

// add adds a turn's tally, and clears it.
func (c *Counters) add(t *Tally) {
	c.Turns.Add(1)
	add := func(to *atomic.Uint64, n *uint64) {
		if *n > 0 {
			to.Add(*n)
			*n = 0
		}
	}
	add(&c.ShardTurns, &t.ShardTurns)
	add(&c.Moves, &t.Moves)
	add(&c.Receives, &t.Receives)
	add(&c.Sends, &t.Sends)
	add(&c.Batches, &t.Batches)
	add(&c.Blocked, &t.Blocked)
	add(&c.BytesIn, &t.BytesIn)
	add(&c.BytesOut, &t.BytesOut)
}
