package broker

import (
	"midge/internal/retained"
	"midge/internal/store"
)

// Store keeps what outlives the process. Methods are safe for use by all shards.
type Store interface {
	Load(l store.Loader) ([]store.Damaged, error) // before anything else

	NextSeq() uint64     // the number of a new message
	NextSession() uint64 // the number of a new session

	// Turn returns what a shard fills and hands back by Submit, which returns
	// its number. The store calls Broker.Committed with it.
	Turn() *store.Turn
	Submit(shard int, t *store.Turn) (number uint64)

	retained.Store

	Fetch(f *store.Fetch)

	// Busy reports whether so much waits for the disk that no more should come.
	Busy() bool

	// Stats are for $SYS.
	Stats() store.Stats

	// Err is why nothing becomes durable at present, nil if it does. Failed reports
	// whether nothing ever will.
	Err() error
	Failed() bool
}

// Committed is called when a number of turns of a shard are on disk. The store calls
// it, from any goroutine.
func (b *Broker) Committed(shard int, turns uint64) {
	b.shards[shard].disk.committed.Store(turns)
	b.runner.Wake(shard)
	b.wakeStalled()
}

// wakeStalled lets those shards look again whose publishers wait for the disk.
func (b *Broker) wakeStalled() {
	set := b.stalled.Swap(0)
	for i := 0; set != 0; set, i = set>>1, i+1 {
		if set&1 != 0 {
			b.runner.Wake(i)
		}
	}
}

// StoreChanged is called when Store.Err or Store.Failed may say something else now.
func (b *Broker) StoreChanged() {
	b.noteTrouble()
	for i := range b.shards {
		b.runner.Wake(i)
	}
}

// noteTrouble remembers what is wrong with the disk, if anything is.
func (b *Broker) noteTrouble() {
	if err := b.cfg.Store.Err(); err != nil {
		text := err.Error()
		b.trouble.Store(&text)
	}
}
