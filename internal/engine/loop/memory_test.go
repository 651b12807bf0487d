package loop

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/engine"
)

// network is an engine in memory, for the tests of a loop: input is put into
// a shard's queue, and output is counted.
type network struct {
	loop    *Loop
	pollers []*memoryPoller
	shards  []*memoryShard

	mu sync.Mutex // guards the queues, and memoryShard.poller
}

// memoryPoller implements Poller.
type memoryPoller struct {
	network *network
	thread  *Thread
	woken   chan bool // holds one value after Wake
	idle    func()    // is called in Idle; or nil
	held    []*memoryShard
	flushed atomic.Int64  // messages
	share   time.Duration // of its work is how much processor time it has, in percent
}

// memoryShard implements Conns. Its connections send one message each at most.
type memoryShard struct {
	*Shard
	network *network
	poller  *memoryPoller
	queue   []int // lengths of input that has arrived
	turn    func(time.Duration) (next time.Duration)
	running atomic.Bool // somebody calls it
	arena   Arena
	memory  Arenas
	output  [][2]uint32  // offsets and sizes of messages in arena
	read    atomic.Int64 // bytes
	turns   atomic.Int64
}

// newNetwork makes an engine. turn is what the shards do in their turns; nil: nothing.
func newNetwork(threads, shards int, turn func(*memoryShard, time.Duration) time.Duration) *network {
	w := &network{loop: New()}
	for range threads {
		p := &memoryPoller{network: w, woken: make(chan bool, 1), share: 100}
		p.thread = w.loop.AddThread(p)
		w.pollers = append(w.pollers, p)
	}
	for range shards {
		s := &memoryShard{network: w}
		s.turn = func(now time.Duration) time.Duration {
			if turn == nil {
				return engine.Never
			}
			return turn(s, now)
		}
		s.Shard = w.loop.AddShard(s)
		w.shards = append(w.shards, s)
	}
	return w
}

// run runs a test with the engine, in a bubble with its own time.
func (w *network) run(test func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() {
		w.loop.Run(ctx, func() {})
		close(ended)
	}()
	synctest.Wait()
	test()
	cancel()
	<-ended
}

// away is the number of shards that the first thread does not have.
func (w *network) away() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.shards {
		if s.poller != w.pollers[0] {
			n++
		}
	}
	return n
}

// arrive gives a shard input of n bytes.
func (w *network) arrive(shard, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shards[shard]
	s.queue = append(s.queue, n)
	s.poller.Wake()
}

func (p *memoryPoller) Run() {
	for {
		until, ok := p.thread.Due()
		if !ok {
			return
		}
		p.wait(until)
		p.thread.Turn()
	}
}

func (p *memoryPoller) Hold(shard int) {
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	s := p.network.shards[shard]
	s.poller = p
	p.held = append(p.held, s)
	if len(s.queue) > 0 {
		p.Wake()
	}
}

func (p *memoryPoller) Release(shard int) {
	for i, s := range p.held {
		if s.Index() == shard {
			p.held = append(p.held[:i:i], p.held[i+1:]...)
			return
		}
	}
}

func (p *memoryPoller) Idle() time.Duration {
	if p.idle != nil {
		p.idle()
	}
	return engine.Never
}

func (p *memoryPoller) wait(until time.Duration) {
	if until <= p.thread.End() {
		return
	}
	var due <-chan time.Time
	if until != engine.Never {
		due = time.After(until - p.network.loop.Now())
	}
	select {
	case <-p.woken:
	case <-due:
	}
}

func (p *memoryPoller) Wake() {
	select {
	case p.woken <- true:
	default:
	}
}

func (p *memoryPoller) Receive() {
	for _, s := range p.held {
		p.network.mu.Lock()
		queue := s.queue
		s.queue = nil
		p.network.mu.Unlock()
		for _, n := range queue {
			s.enter()
			s.read.Add(int64(n))
			p.thread.Tally().Receives++
			p.thread.Tally().BytesIn += uint64(n)
			s.leave()
		}
		if len(queue) > 0 {
			s.Schedule()
		}
	}
}

func (p *memoryPoller) Flush() {
	for _, s := range p.held {
		for _, m := range s.output {
			p.flushed.Add(1)
			p.thread.Tally().Sends++
			p.thread.Tally().BytesOut += uint64(len(s.arena.At(m[0], m[1])))
		}
		s.output = nil
		s.arena.Reset(&s.memory)
	}
}

func (p *memoryPoller) Measured(worked, _ time.Duration) time.Duration {
	return worked * p.share / 100
}

// enter and leave find out whether two threads run a shard.
func (s *memoryShard) enter() {
	if s.running.Swap(true) {
		panic("two threads run a shard")
	}
}

func (s *memoryShard) leave() { s.running.Store(false) }

func (s *memoryShard) Turn(now time.Duration) time.Duration {
	s.enter()
	defer s.leave()
	s.turns.Add(1)
	for _, f := range s.Posts() {
		f()
	}
	return s.turn(now)
}

func (s *memoryShard) Output() int { return len(s.output) }

// fanOut sends a message to n connections.
func (s *memoryShard) fanOut(n int, message []byte) {
	for range n {
		offset, ok := s.arena.Put(message, nil, &s.memory)
		if !ok {
			panic("the arena is full")
		}
		s.output = append(s.output, [2]uint32{offset, uint32(len(message))})
	}
}

// bubble runs a test with its own time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
