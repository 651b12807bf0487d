//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// Engine runs shards on event loops. It implements engine.Runner.
type Engine struct {
	cfg       Config
	start     time.Time
	shards    []*shard
	threads   []*thread
	listeners []*listener
	slab      slab
	buffers   buffers
	pool      *bufpool.Pool // for what is large
	counters  Counters

	uring    bool   // threads send in batches
	noUring  string // why they do not
	nextConn atomic.Uint32

	running  sync.WaitGroup // threads
	stopping atomic.Bool
	ended    atomic.Bool // Run has closed everything
	late     atomic.Bool // somebody runs posts that came after that
}

// New returns an engine for the shards. It starts nothing; see Run.
func New(shards []engine.Shard, cfg Config) (*Engine, error) {
	if len(shards) == 0 {
		return nil, errors.New("epoll engine without shards")
	}
	e := &Engine{cfg: cfg.withDefaults(len(shards)), start: time.Now(), pool: bufpool.New(poolBytes)}
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
		t, err := newThread(e, i)
		if err != nil {
			e.closeDescriptors()
			return nil, fmt.Errorf("create thread %d of epoll engine: %w", i, err)
		}
		e.threads = append(e.threads, t)
	}
	if err := e.threads[0].openGate(); err != nil {
		e.cfg.Log.Debug("waiting without Go's poller", "error", err)
	}
	for i, h := range shards {
		ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
		if err != nil {
			e.closeDescriptors()
			return nil, fmt.Errorf("create epoll descriptor of shard %d: %w", i, err)
		}
		s := &shard{index: i, engine: e, handler: h, ep: ep, next: 0, lastSize: -1, mostRead: e.cfg.ReadBuffer}
		s.owner.Store(e.threads[0])
		e.shards = append(e.shards, s)
		e.threads[0].hold(s)
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
	if n := len(e.threads); n > 1 {
		threads = fmt.Sprintf("1..%d threads", n)
	}
	return fmt.Sprintf("epoll, %s, %d shards on %s", sends, len(e.shards), threads)
}

// Counters are updated once in each turn. Safe from any goroutine.
func (e *Engine) Counters() *Counters { return &e.counters }

// Now implements engine.Runner.
func (e *Engine) Now() time.Duration { return time.Since(e.start) }

// Wake implements engine.Runner.
//
// No wake-up is lost. The caller has put its work into the shard's mailbox
// before. If it finds signalled set, then a turn is owed that has not begun:
// the thread clears signalled before the shard drains its mailbox, so that
// drain sees the work. If it sets signalled itself, it leaves a note with the
// thread that holds the token. If that thread has given the shard away
// meanwhile, it passes the note on to the next owner, and every owner gives a
// turn to a shard that it is given or reminded of. See thread.push for why the
// note wakes a thread that sleeps.
func (e *Engine) Wake(shard int) {
	s := e.shards[shard]
	if s.signalled.Swap(true) {
		if e.ended.Load() {
			e.runLatePosts()
		}
		return
	}
	s.owner.Load().push(note{s: s})
	if e.ended.Load() {
		e.runLatePosts()
	}
}

// Post implements engine.Runner. After Run has ended, f is called before Post
// returns, or by another Post that is on.
func (e *Engine) Post(shard int, f func()) {
	s := e.shards[shard]
	s.mu.Lock()
	s.posts = append(s.posts, f)
	s.mu.Unlock()
	e.Wake(shard)
}

// Sip implements engine.Runner.
func (e *Engine) Sip(shard int, on bool) {
	s := e.shards[shard]
	if s.mostRead = e.cfg.ReadBuffer; on {
		s.mostRead = engine.SipBytes
	}
}

// Run implements engine.Runner. It also closes the listeners. It can be called
// once.
func (e *Engine) Run(ctx context.Context) error {
	for _, l := range e.listeners {
		if err := e.threads[0].listen(l); err != nil {
			return fmt.Errorf("watch listener %s: %w", l.addr, err)
		}
	}
	e.counters.ThreadsBusy.Store(1)
	for i, t := range e.threads {
		t.idle.Store(i > 0)
		e.running.Go(t.loop)
	}
	<-ctx.Done()
	e.stopping.Store(true)
	for _, t := range e.threads {
		signal(t.efd)
	}
	e.running.Wait()
	e.finish()
	return nil
}

// finish closes everything. No thread runs any more, so that its goroutine
// holds all tokens.
func (e *Engine) finish() {
	t := e.threads[0]
	t.ring, t.ringRefused = nil, true
	t.shards, t.run = nil, nil
	for _, s := range e.shards {
		s.thread, s.queued = t, false
		s.owner.Store(t)
		t.shards = append(t.shards, s)
	}
	for _, s := range e.shards { // that may move connections to each other
		s.runPosts()
		s.settle()
	}
	t.flush()
	e.slab.all(func(c *conn) {
		switch {
		case c.has(dead):
		case c.has(lingering):
			c.shard.free(c)
		default:
			c.flags |= closing
			c.shard.write(c)
			c.shard.bury(c, net.ErrClosed)
		}
	})
	for _, s := range e.shards {
		s.dirty, s.doomed, s.resumed = nil, nil, nil
		s.reset()
		s.release()
		s.runPosts()
		s.exhaustAll()
		s.handler.Turn(e.Now())
	}
	e.closeDescriptors()
	e.ended.Store(true)
	e.runLatePosts()
}

// runLatePosts calls what was posted after the end, one at a time.
func (e *Engine) runLatePosts() {
	for e.latePosts() && e.late.CompareAndSwap(false, true) {
		for _, s := range e.shards {
			s.runPosts()
		}
		e.late.Store(false)
	}
}

func (e *Engine) latePosts() bool {
	for _, s := range e.shards {
		s.mu.Lock()
		n := len(s.posts)
		s.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

func (e *Engine) closeDescriptors() {
	for _, l := range e.listeners {
		closeFD(l.fd)
	}
	for _, s := range e.shards {
		closeFD(s.ep)
	}
	for _, t := range e.threads {
		t.close()
	}
}
