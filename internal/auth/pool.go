package auth

import (
	"net/netip"
	"sync"

	"midge/internal/rate"
)

// Pool runs what would block a shard. How much runs at a time, the memory that it
// takes and how much waits are bounded; what is over is refused. It has
// goroutines only while there is work.
type Pool struct {
	mu      sync.Mutex
	workers int   // that run at a time,
	memory  int64 // bytes that these may take together; one that takes more runs alone
	queue   int   // that wait for it, and of these
	share   int   // from one address
	waiting []work
	from    map[netip.Addr]int // how many of them wait, by address
	running int
	used    int64
}

type work struct {
	from   netip.Addr
	memory int64
	do     func()
}

// NewPool returns a Pool that runs workers at a time, with memory bytes of memory
// in all, and has queue wait: half of them from one address at most.
func NewPool(workers int, memory int64, queue int) *Pool {
	p := &Pool{from: map[netip.Addr]int{}}
	p.Resize(workers, memory, queue)
	return p
}

// Resize gives the Pool other bounds, as NewPool has them. What runs or waits by then goes on.
func (p *Pool) Resize(workers int, memory int64, queue int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers, p.memory, p.queue, p.share = workers, memory, queue, max(1, queue/2)
	p.start()
}

// Do runs do on another goroutine, at once or when its turn comes. memory is what
// it takes. Do reports false, and does nothing, if too many wait already.
func (p *Pool) Do(from netip.Addr, memory int64, do func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	from = rate.Network(from)
	if len(p.waiting) >= p.queue || p.from[from] >= p.share {
		return false
	}
	p.waiting = append(p.waiting, work{from, memory, do})
	p.from[from]++
	p.start()
	return true
}

// start starts what may run now.
func (p *Pool) start() {
	for len(p.waiting) > 0 && p.running < p.workers {
		w := p.waiting[0]
		if p.running > 0 && p.used+w.memory > p.memory {
			return
		}
		p.waiting[0] = work{}
		p.waiting = p.waiting[1:]
		if p.from[w.from]--; p.from[w.from] == 0 {
			delete(p.from, w.from)
		}
		p.running++
		p.used += w.memory
		go p.run(w)
	}
}

func (p *Pool) run(w work) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
		p.used -= w.memory
		p.start()
	}()
	w.do()
}
