package tlslayer

import (
	"container/list"
	"sync"
)

// member is a handshake as the pool sees it.
type member interface {
	run(p *place) // in a goroutine
	displace()    // makes run return
}

// pool bounds the handshakes. A goroutine computes while it has a slot, and gives it
// back while it waits for its peer. So slow peers cost memory and nobody's time, and of the
// memory so much as the bound allows: while others wait for a place, the ones that have
// waited longest for their peers lose theirs. Safe from any goroutine.
type pool struct {
	slots chan struct{} // one element for each that computes
	max   int           // that have a goroutine

	mu     sync.Mutex
	places list.List // *place: have a goroutine, the oldest first
	queue  list.List // member: wait for one
	going  int       // places that are displaced
}

// place is what a member with a goroutine has of the pool.
type place struct {
	pool      *pool
	member    member
	idle      bool // it waits for its peer
	displaced bool
}

func newPool(running, waiting int) *pool {
	return &pool{slots: make(chan struct{}, running), max: waiting}
}

// enter begins m, now or when another one has ended.
func (p *pool) enter(m member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.places.Len() < p.max {
		p.begin(m)
		return
	}
	p.queue.PushBack(m)
	p.makeRoom()
}

// makeRoom ends the oldest that waits for its peer, unless as many end as wait for a
// place. The caller holds the lock.
func (p *pool) makeRoom() {
	if p.going >= p.queue.Len() {
		return
	}
	for e := p.places.Front(); e != nil; e = e.Next() {
		if x := e.Value.(*place); x.idle && !x.displaced {
			x.displaced = true
			p.going++
			x.member.displace()
			return
		}
	}
}

// begin gives m a goroutine. The caller holds the lock.
func (p *pool) begin(m member) {
	x := &place{pool: p, member: m}
	e := p.places.PushBack(x)
	go func() {
		p.slots <- struct{}{}
		m.run(x)
		<-p.slots
		p.mu.Lock()
		defer p.mu.Unlock()
		p.places.Remove(e)
		if x.displaced {
			p.going--
		}
		if first := p.queue.Front(); first != nil {
			p.begin(p.queue.Remove(first).(member))
		}
	}()
}

// wait calls f, which waits for the peer, without the slot.
func (x *place) wait(f func()) {
	<-x.pool.slots
	x.setIdle(true)
	f()
	x.setIdle(false)
	x.pool.slots <- struct{}{}
}

func (x *place) setIdle(idle bool) {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	if x.idle = idle; idle {
		x.pool.makeRoom()
	}
}
