package storetest

import (
	"math/rand/v2"
	"sync"
	"time"

	"midge/internal/store"
)

// Late is a backend that answers late, as disks do: Commit and Get pause before
// they begin, and once more when they are done and nobody knows it yet. Load
// and Scan are not slowed down.
type Late struct {
	store.Backend
	pause func()
}

// NewLate makes a backend late. pause is called on the goroutine that waits for
// the answer: Delays and Gate have two.
func NewLate(b store.Backend, pause func()) *Late { return &Late{Backend: b, pause: pause} }

// Commit implements store.Backend.
func (l *Late) Commit(sync bool, lists ...*store.Changes) error {
	l.pause()
	defer l.pause()
	return l.Backend.Commit(sync, lists...)
}

// Get implements store.Backend.
func (l *Late) Get(dst, key []byte) ([]byte, error) {
	l.pause()
	defer l.pause()
	return l.Backend.Get(dst, key)
}

// Delays returns a pause of chance: up to limit, mostly much shorter, and one time
// in four none at all. It sleeps, so that the time is a test's own within
// testing/synctest. Safe for use by several goroutines.
func Delays(seed uint64, limit time.Duration) (pause func()) {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1))
	return func() {
		mu.Lock()
		d := time.Duration(r.Int64N(int64(limit)+1)) >> r.IntN(10)
		if r.IntN(4) == 0 {
			d = 0
		}
		mu.Unlock()
		time.Sleep(d)
	}
}

// Gate is a pause that ends when a test says so. The zero value is open.
type Gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil: it is open
}

// Pause waits until the gate is open.
func (g *Gate) Pause() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// Shut makes those wait that pause from now on.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

// Open lets all go on.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}
