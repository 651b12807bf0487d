//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/input"
	"midge/internal/engine/loop"
)

// Engine runs shards on event loops. It implements engine.Runner.
type Engine struct {
	cfg      Config
	loop     *loop.Loop
	counters *loop.Counters // of loop
	shards   []*shard
	pollers  []*poller // one for each thread
	sockets  sockets
	names    [engine.MaxListeners]atomic.Pointer[string] // of listeners, by number
	local    [engine.MaxListeners]atomic.Bool            // they have Unix sockets
	open     [engine.MaxListeners]atomic.Int32           // connections of each
	slab     loop.Slab[conn]
	pendings pendings
	buffers  input.Buffers

	uring    bool   // threads send in batches
	noUring  string // why they do not
	nextConn atomic.Uint32
}

// New returns an engine for the shards. It starts nothing; see Run.
func New(shards []engine.Shard, cfg Config) (*Engine, error) {
	if len(shards) == 0 {
		return nil, errors.New("epoll engine without shards")
	}
	l := loop.New()
	e := &Engine{cfg: cfg.withDefaults(len(shards)), loop: l, counters: l.Counters()}
	e.sockets.all = map[int32]*socket{}
	e.buffers.Large = e.cfg.Buffers
	switch {
	case e.cfg.NoUring:
		e.noUring = "switched off"
	default:
		if err := probeRing(); err != nil {
			e.noUring = err.Error()
		} else {
			e.uring = true
		}
	}
	for i := range e.cfg.Threads {
		p, err := newPoller(e, len(shards))
		if err != nil {
			e.closeDescriptors()
			return nil, fmt.Errorf("create thread %d of epoll engine: %w", i, err)
		}
		e.pollers = append(e.pollers, p)
	}
	if err := e.pollers[0].openGate(); err != nil {
		e.cfg.Log.Debug("waiting without Go's poller", "error", err)
	}
	for i, h := range shards {
		ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
		if err != nil {
			e.closeDescriptors()
			return nil, fmt.Errorf("create epoll descriptor of shard %d: %w", i, err)
		}
		s := &shard{engine: e, handler: h, ep: ep, maxRead: e.cfg.ReadBuffer, taken: map[*conn]uint64{}}
		s.lingers.max = e.cfg.Lingering / len(shards)
		s.Shard = e.loop.AddShard(s)
		e.shards = append(e.shards, s)
	}
	return e, nil
}

// Describe says in a few words what the engine does, for the banner.
func (e *Engine) Describe() string {
	sends := "io_uring sends"
	if !e.uring {
		sends = "plain sends (io_uring: " + e.noUring + ")"
	}
	threads := "1 thread"
	if n := len(e.pollers); n > 1 {
		threads = fmt.Sprintf("1..%d threads", n)
	}
	return fmt.Sprintf("epoll, %s, %d shards on %s", sends, len(e.shards), threads)
}

// Counters are updated once in each turn. Safe from any goroutine.
func (e *Engine) Counters() *loop.Counters { return e.counters }

// Now implements engine.Runner.
func (e *Engine) Now() time.Duration { return e.loop.Now() }

// Wake implements engine.Runner.
func (e *Engine) Wake(shard int) { e.loop.Wake(shard) }

// Post implements engine.Runner. After Run has ended, f is called before Post
// returns, or by another Post that is on.
func (e *Engine) Post(shard int, f func()) { e.loop.Post(shard, f) }

// Throttle implements engine.Runner.
func (e *Engine) Throttle(shard int, on bool) {
	s := e.shards[shard]
	if s.maxRead = e.cfg.ReadBuffer; on {
		s.maxRead = engine.ThrottledBytes
	}
}

// Run implements engine.Runner. It also closes the listeners. It can be called
// once.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.watchAll(); err != nil {
		return err
	}
	e.loop.Run(ctx, e.finish)
	return nil
}

// finish closes everything. No thread runs any more; the caller is the first one,
// and holds all tokens.
func (e *Engine) finish() {
	p := e.pollers[0]
	p.ringRefused = true
	p.shards = e.shards
	for _, s := range e.shards {
		s.poller = p
	}
	for _, s := range e.shards { // that may move connections to each other
		s.runPosts()
		s.complete()
	}
	p.flush()
	e.slab.All(func(c *conn) {
		switch {
		case c.has(dead):
		case c.has(lingering):
			c.shard.free(c)
		default:
			c.flags |= closing
			c.shard.write(c)
			c.shard.finish(c, net.ErrClosed)
		}
	})
	for _, s := range e.shards {
		s.dirty, s.ended, s.resumed = nil, nil, nil
		s.reset()
		s.release()
		s.runPosts()
		s.exhaustAll()
		s.handler.Turn(e.Now())
	}
	e.closeDescriptors()
}

func (e *Engine) closeDescriptors() {
	e.sockets.closeAll()
	for _, s := range e.shards {
		closeFD(s.ep)
	}
	for _, p := range e.pollers {
		p.close()
	}
}
