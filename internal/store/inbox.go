package store

import "sync"

// inbox is what shards have submitted and the committer has not taken yet. Safe
// for use by several goroutines.
type inbox struct {
	mu       sync.Mutex // guards what follows
	turns    []*Turn
	retained Changes  // of retained messages, which belong to no turn
	number   uint64   // of the last turn, of any shard
	counts   []uint64 // turns of each shard, from the start
}

// submit adds a turn of a shard and returns how many that makes.
func (in *inbox) submit(shard int, t *Turn) uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.number++
	t.shard, t.number = shard, in.number
	in.turns = append(in.turns, t)
	in.counts[shard]++
	return in.counts[shard]
}

// retain adds a change of a retained message, and returns its size in bytes.
func (in *inbox) retain(change func(*Changes)) int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	before := in.retained.Size()
	change(&in.retained)
	return int64(in.retained.Size() - before)
}

// take gives everything to b, in whose memory the next things come.
func (in *inbox) take(b *batch) {
	in.mu.Lock()
	defer in.mu.Unlock()
	clear(b.turns)
	b.turns, in.turns = in.turns, b.turns[:0]
	b.retained, in.retained = in.retained, b.retained
	in.retained.Reset()
	copy(b.counts, in.counts)
}
