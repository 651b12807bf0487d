// Package gonet is the engine for every operating system and every net.Listener:
// a goroutine reads each connection, and another writes it while there is
// something to write. Threads runs shards, one goroutine each. Engine is that with
// listeners; Serve carries the connections of any net.Listener, on Threads or on
// another engine.Runner.
//
// Shards are called from the runner's threads only. The goroutines of a
// connection talk to its shard through Runner.Post. Package gonet knows no
// MQTT.
//
// Files, from the bottom up: readsoon.go, readnow_unix.go, readnow_other.go,
// read.go, acked.go, threads.go, usertimeout_linux.go, usertimeout_other.go,
// writenow_unix.go, writenow_other.go, narrow_linux.go, narrow_other.go, serve.go,
// output.go, conn.go, engine.go.
package gonet

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/engine"
)

// Config tunes Threads and Serve. The zero value is ready for use.
type Config struct {
	// ReadBuffer is the size in bytes of the buffer that each connection
	// reads into; 0 means 4 KiB.
	ReadBuffer int

	// Lingering is how many sockets may linger after Closed; 0 means
	// engine.MaxLingering.
	Lingering int

	// Listener is the number of the listener that Serve gets, and Name its name; see
	// engine.Listener.
	Listener int
	Name     string

	// Log gets what an operator should know; nil means slog.Default().
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.ReadBuffer = cmp.Or(c.ReadBuffer, 4<<10)
	c.Lingering = max(cmp.Or(c.Lingering, engine.MaxLingering), 1)
	c.Log = cmp.Or(c.Log, slog.Default())
	return c
}

// Threads runs each shard in a goroutine of its own. It implements
// engine.Runner.
type Threads struct {
	start  time.Time
	shards []*runner
	ended  atomic.Bool
}

// runner runs one shard.
type runner struct {
	handler engine.Shard
	wake    chan struct{} // holds one value while a turn is owed
	turn    sync.Mutex    // the shard's token

	mu    sync.Mutex
	posts []func()
}

// New returns a runner for the shards. It starts nothing; see Run.
func New(shards []engine.Shard, _ Config) *Threads {
	t := &Threads{start: time.Now()}
	for _, h := range shards {
		t.shards = append(t.shards, &runner{handler: h, wake: make(chan struct{}, 1)})
	}
	return t
}

// Now implements engine.Runner.
func (t *Threads) Now() time.Duration { return time.Since(t.start) }

// Wake implements engine.Runner.
func (t *Threads) Wake(shard int) {
	select {
	case t.shards[shard].wake <- struct{}{}:
	default: // a turn is owed already, and it has not begun
	}
}

// Post implements engine.Runner. After Run has ended, f is called before Post
// returns, or by another Post that is on.
func (t *Threads) Post(shard int, f func()) {
	r := t.shards[shard]
	r.mu.Lock()
	r.posts = append(r.posts, f)
	r.mu.Unlock()
	t.Wake(shard)
	if t.ended.Load() {
		r.runLatePosts()
	}
}

// Throttle implements engine.Runner: a connection has a small buffer of its own anyway.
func (t *Threads) Throttle(int, bool) {}

// Run implements engine.Runner. Connections belong to Serve, which must have
// returned before ctx is cancelled if the shards are to get Closed.
func (t *Threads) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, r := range t.shards {
		wg.Go(func() { t.run(ctx, r) })
	}
	wg.Wait()
	t.ended.Store(true)
	for _, r := range t.shards {
		r.runLatePosts()
	}
	return nil
}

func (t *Threads) run(ctx context.Context, r *runner) {
	r.turn.Lock()
	defer r.turn.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		r.runPosts()
		next := r.handler.Turn(t.Now())
		if next <= t.Now() {
			// There is more to do. What was sent is written first, and others have
			// their turn: they would wait for a goroutine that is always ready.
			r.runPosts()
			runtime.Gosched()
			continue
		}
		var due <-chan time.Time
		if next != engine.Never {
			timer.Reset(max(0, next-t.Now()))
			due = timer.C
		}
		select {
		case <-r.wake:
		case <-due:
		case <-ctx.Done():
		}
	}
	r.runPosts()
	r.handler.Turn(t.Now())
}

// runPosts calls what was posted so far and reports whether that was anything.
func (r *runner) runPosts() bool {
	r.mu.Lock()
	posts := r.posts
	r.posts = nil
	r.mu.Unlock()
	for _, f := range posts {
		f()
	}
	return len(posts) > 0
}

// runLatePosts calls what was posted after the shard's goroutine had ended.
// Whoever holds the token calls all, so that a post from a post does not wait
// for itself.
func (r *runner) runLatePosts() {
	for r.posted() && r.turn.TryLock() {
		for r.runPosts() {
		}
		r.turn.Unlock()
	}
}

func (r *runner) posted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.posts) > 0
}
