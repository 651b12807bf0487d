package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"midge/internal/packet"
)

// maxShutdown bounds a shutdown, whatever the caller's context says.
const maxShutdown = 5 * time.Second

// shutdown ends all connections in order. The wills of clients that did not
// disconnect themselves are published, for the connection ends without their
// DISCONNECT (MQTT-3.1.2-8); a delay still counts, and ends with the process.
func (b *Broker) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxShutdown)
	defer cancel()
	b.stopping.Store(true)
	for _, step := range []func(*shard){(*shard).publishWills, (*shard).receiveAll, (*shard).disconnectAll} {
		if err := b.onEachShard(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// onEachShard runs f on the threads of all shards and waits.
func (b *Broker) onEachShard(ctx context.Context, f func(*shard)) error {
	var wg sync.WaitGroup
	for i, s := range b.shards {
		wg.Add(1)
		b.runner.Post(i, func() {
			defer wg.Done()
			s.readClock()
			f(s)
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("broker: shutdown: a shard did not answer: %w", context.Cause(ctx))
	}
}

// publishWills comes before the connections end on any shard, so that clients
// of this broker that subscribe to wills still get them.
func (s *shard) publishWills() {
	for _, cl := range slices.Collect(s.clients.All) { // it changes
		if w := cl.will(); cl.conn != nil && w != nil && w.delay == 0 {
			s.publishWill(cl)
		}
	}
	s.flush()
}

// receiveAll routes all that other shards have posted.
func (s *shard) receiveAll() {
	for s.receive() {
	}
}

// disconnectAll ends the connections of the shard.
func (s *shard) disconnectAll() {
	for _, cl := range slices.Collect(s.clients.All) { // it changes
		if c := cl.conn; c != nil {
			s.end(c, packet.ServerShuttingDown, "the broker stops")
		}
	}
	for c := range s.handshakes.open {
		if j := s.handshakes.waiting[c]; j != nil {
			s.reread(j)
			s.refuse(c, packet.ServerUnavailable, "the broker stops")
		} else {
			s.close(c, "the broker stops")
		}
	}
}
