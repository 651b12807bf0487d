package gonet

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"midge/internal/engine"
)

// busy is a shard that always has more to do.
type busy struct {
	engine.Shard
	turns atomic.Int64
}

func (b *busy) Turn(now time.Duration) time.Duration {
	b.turns.Add(1)
	return now
}

// TestBusyShardsYield lets another goroutine have its turn behind each turn of the
// shards, with one processor for all: the reader of a connection must not
// wait until a shard has done all it has to do.
func TestBusyShardsYield(t *testing.T) {
	const shards, steps = 8, 1000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var all []engine.Shard
	var each []*busy
	for range shards {
		b := &busy{}
		all, each = append(all, b), append(each, b)
	}
	turns := func() (sum int64) {
		for _, b := range each {
			sum += b.turns.Load()
		}
		return sum
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(all, Config{}).Run(ctx) }()
	most, before := int64(0), int64(0)
	for step := 0; step < steps && most <= 10*shards; step++ {
		runtime.Gosched()
		n := turns()
		most, before = max(most, n-before), n
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Each shard has a turn between two steps; the garbage collector may put others in between.
	if most > 10*shards {
		t.Errorf("%d turns of %d shards between two steps of another goroutine", most, shards)
	}
	if most <= 10*shards && before < steps/2 {
		t.Errorf("%d turns in %d steps: the shards are kept waiting", before, steps)
	}
}
