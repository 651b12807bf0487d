package loop

import (
	"sync"
	"sync/atomic"
	"time"
)

// Conns are the connections of a shard, as an engine keeps them. The thread
// that holds the shard's token calls them.
type Conns interface {
	// Turn gives the shard its turn: first the calls of Shard.Posts, last
	// engine.Shard.Turn. It returns when the next turn is due, engine.Never if
	// none is.
	Turn(now time.Duration) (next time.Duration)

	// Output is the number of connections with output that was not written yet.
	Output() int
}

// Shard is what a loop keeps for one shard: its token, and the turns that it is
// to get. Except for the first group, the thread that holds the token uses it, nobody
// else.
type Shard struct {
	signalled atomic.Bool            // a turn is pending; see Loop.Wake
	owner     atomic.Pointer[Thread] // who holds the token
	mu        sync.Mutex             // guards posts
	posts     []func()               // to call in the next turn

	index  int
	conns  Conns
	thread *Thread       // the last that held the token; see Thread.Holds
	next   time.Duration // when a turn is due
	queued bool          // is in thread.run
}

// Index is the number of the shard.
func (s *Shard) Index() int { return s.index }

// Schedule gives the shard a turn in this turn of its thread, or in the next one.
func (s *Shard) Schedule() {
	if !s.queued {
		s.queued = true
		s.thread.run = append(s.thread.run, s)
	}
}

// Posts returns the calls that were posted since it was called last, in order.
func (s *Shard) Posts() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	posts := s.posts
	s.posts = nil
	return posts
}

// post adds a call. Safe from any goroutine.
func (s *Shard) post(f func()) {
	s.mu.Lock()
	s.posts = append(s.posts, f)
	s.mu.Unlock()
}

// posted reports whether there are calls. Safe from any goroutine.
func (s *Shard) posted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.posts) > 0
}
