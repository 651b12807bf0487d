//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"runtime"
	"slices"
	"syscall"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/loop"
)

// poller is what a thread has of the network: descriptors that it waits for, and
// what it reads and writes with. It implements loop.Poller. The thread uses it,
// nobody else, but for Wake.
type poller struct {
	engine *Engine
	thread *loop.Thread
	tally  *loop.Tally // of thread
	top    int         // epoll descriptor of its shards' epoll descriptors, listeners and efd
	efd    int         // wakes it
	ring   *ring

	ringRefused bool // don't try again

	shards   []*shard      // whose tokens the thread holds
	found    int           // events in topEvents
	left     bool          // something may be ready of which there will be no new event; see turnsCalmly
	yielded  time.Duration // when yield last did something
	longWait time.Duration // when a wait of more than schedulerTurn last ended
	cpu      time.Duration // processor time of the thread at the end of the last window

	topEvents  []syscall.EpollEvent
	connEvents []syscall.EpollEvent
	read       *bufpool.Buffer // into which it reads sockets, Config.ReadBuffer bytes at once; see renewRead
	frontBytes int             // buffered input of a connection is copied in front of new input up to this size
	arenas     loop.Arenas
	gather     gather
	name       syscall.RawSockaddrAny // scratch for socketName
	listening
	calm calm
}

// The second word of an epoll event says what the first one numbers.
const (
	kindConn   int32 = iota // a connection of the slab
	kindShard               // a shard
	kindListen              // a listener
	kindWake                // nothing: the thread was woken
)

// newPoller makes the next thread of the engine, for so many shards in all.
func newPoller(e *Engine, shards int) (*poller, error) {
	p := &poller{
		engine:     e,
		topEvents:  make([]syscall.EpollEvent, 64),
		connEvents: make([]syscall.EpollEvent, 256),
		read:       e.buffers.Large.Get(e.cfg.ReadBuffer),
		frontBytes: e.cfg.ReadBuffer / 4,
		arenas:     loop.Arenas{Max: shards},
	}
	var err error
	if p.top, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if p.efd, err = eventfd(); err != nil {
		closeFD(p.top)
		return nil, err
	}
	// Edge-triggered, so that nobody has to read it.
	if err = control(p.top, syscall.EPOLL_CTL_ADD, p.efd, epollIn|epollET, 0, kindWake); err != nil {
		p.close()
		return nil, err
	}
	p.thread = e.loop.AddThread(p)
	p.tally = p.thread.Tally()
	return p, nil
}

func (p *poller) close() {
	if p.calm.gate != nil {
		p.calm.gate.Close()
	}
	closeFD(p.top)
	closeFD(p.efd)
}

// Run implements loop.Poller.
func (p *poller) Run() {
	runtime.LockOSThread() // and unlocked only by goCalm: the thread ends with the goroutine
	defer func() {
		if p.ring != nil {
			p.ring.close()
			p.ring = nil
		}
	}()
	if p.calm.gate != nil {
		p.goCalm(0)
	}
	for p.turnsCalmly() && p.turnsBusy() {
	}
}

// turnsBusy gives the thread its turns while it is busy. It reports false if the loop
// has ended.
func (p *poller) turnsBusy() (ok bool) {
	for !p.calm.on {
		until, ok := p.thread.Due()
		if !ok {
			return false
		}
		p.wait(until)
		p.thread.Turn()
	}
	return true
}

// Hold implements loop.Poller.
func (p *poller) Hold(shard int) {
	s := p.engine.shards[shard]
	s.poller = p
	p.shards = append(p.shards, s)
	if err := control(p.top, syscall.EPOLL_CTL_ADD, s.ep, epollIn, int32(shard), kindShard); err != nil {
		panic("epoll: add shard to thread: " + err.Error()) // two descriptors of ours
	}
}

// Release implements loop.Poller.
func (p *poller) Release(number int) {
	s := p.engine.shards[number]
	if err := control(p.top, syscall.EPOLL_CTL_DEL, s.ep, 0, 0, 0); err != nil {
		panic("epoll: take shard from thread: " + err.Error()) // two descriptors of ours
	}
	p.shards = slices.DeleteFunc(p.shards, func(x *shard) bool { return x == s })
}

// Idle implements loop.Poller.
func (p *poller) Idle() (due time.Duration) {
	if !p.calm.on {
		p.yield()
	}
	return p.listening.due()
}

// wait waits for events of top, and only looks for them if that time has come.
func (p *poller) wait(until time.Duration) {
	switch end := p.thread.End(); {
	case until <= end:
		p.found = pollEvents(p.top, p.topEvents)
	case until == engine.Never:
		p.found = awaitEvents(p.top, p.topEvents, -1)
	default:
		p.found = awaitEvents(p.top, p.topEvents, int(min((until-end+time.Millisecond-1)/time.Millisecond, 1<<30)))
	}
}

// Wake implements loop.Poller.
func (p *poller) Wake() { signal(p.efd) }

// Receive implements loop.Poller.
func (p *poller) Receive() {
	now := p.thread.Now()
	if now-p.thread.End() > schedulerTurn {
		p.longWait = now
	}
	p.resumeAccepts()
	p.left = p.left || p.found == len(p.topEvents)
	for i := range p.found {
		ev := &p.topEvents[i]
		switch ev.Pad {
		case kindShard:
			p.engine.shards[ev.Fd].ready()
		case kindListen:
			p.accept(ev.Fd)
		}
	}
}

// Flush implements loop.Poller.
func (p *poller) Flush() {
	p.flush()
	for _, s := range p.shards {
		s.release()
	}
}

// Measured implements loop.Poller.
func (p *poller) Measured(worked, elapsed time.Duration) (cpu time.Duration) {
	p.adapt(p.thread.End(), worked, elapsed)
	if p.calm.on {
		return 0
	}
	before := p.cpu
	p.cpu = threadTime()
	return p.cpu - before
}

const (
	// schedulerTurn is how long Go's scheduler lets a goroutine run, and how long it
	// leaves a processor to one that waits.
	schedulerTurn = 10 * time.Millisecond

	// yieldEvery and yieldAfter bound what yield costs. Guesses.
	yieldEvery = schedulerTurn / 2
	yieldAfter = 5 * schedulerTurn
)

// yield lets the scheduler see that the loop doesn't run all the time. If it saw
// the same goroutine on a processor for a turn, also one that waits most of it,
// its monitor would take the processor away in each wait, and so be awake for
// each message: at 1,000 messages a second it took a third of the broker's time.
//
// A locked thread needs two switches for it, hence not in each wait. And not
// while some waits are longer than a turn: the monitor takes the processor away
// in those anyhow, and the later it does the longer it is awake.
func (p *poller) yield() {
	if end := p.thread.End(); end-p.longWait > yieldAfter && end-p.yielded > yieldEvery {
		runtime.Gosched()
		p.yielded = end
	}
}
