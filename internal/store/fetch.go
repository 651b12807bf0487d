package store

import (
	"errors"
	"fmt"
	"sync"

	"midge/internal/message"
)

// Fetch asks for messages. Done is called with one result for each, in order,
// on a goroutine of the store.
type Fetch struct {
	Shard int
	Turn  uint64 // of the shard: when it is applied, all of the messages are there
	Items []message.Stored
	Done  func([]Result)
}

// Result is a message with memory of its own, or why there is none.
type Result struct {
	Key     message.Key
	Message *message.Message
	Err     error
}

// readers is the number of goroutines that read messages. Reading waits for
// disks, so that one more than the disk keeps busy is enough.
const readers = 2

// reads are the fetches that wait.
type reads struct {
	s      *Store
	mu     sync.Mutex
	more   sync.Cond
	queue  []*Fetch
	parked []*Fetch // until more is committed
	ended  bool
}

func (r *reads) init(s *Store) {
	r.s = s
	r.more.L = &r.mu
}

// Fetch reads messages, in the background if Run runs.
func (s *Store) Fetch(f *Fetch) { s.reads.add(f) }

func (r *reads) add(f *Fetch) {
	r.mu.Lock()
	r.queue = append(r.queue, f)
	r.mu.Unlock()
	r.more.Signal()
}

// again lets those try once more that did not find everything.
func (r *reads) again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.parked) > 0 {
		r.queue = append(r.queue, r.parked...)
		r.parked = nil
		r.more.Broadcast()
	}
}

func (r *reads) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.more.Broadcast()
}

func (r *reads) run() {
	for {
		r.mu.Lock()
		for len(r.queue) == 0 && !r.ended {
			r.more.Wait()
		}
		if r.ended {
			r.mu.Unlock()
			return
		}
		f := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.mu.Unlock()
		r.serve(f)
	}
}

// StepReads answers all fetches that can be answered. Tests call it in place
// of Run.
func (s *Store) StepReads() {
	for {
		s.reads.mu.Lock()
		queue := s.reads.queue
		s.reads.queue = nil
		s.reads.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, f := range queue {
			s.reads.serve(f)
		}
	}
}

// serve answers a fetch, or parks it if a message may still be on its way to
// the disk.
func (r *reads) serve(f *Fetch) {
	there := r.s.settled(f)
	results := make([]Result, len(f.Items))
	var buf []byte
	for i, it := range f.Items {
		m, b, err := r.s.read(buf[:0], it)
		buf = b
		if errors.Is(err, ErrNotFound) && !there {
			r.park(f)
			return
		}
		results[i] = Result{Key: it.Key, Message: m, Err: err}
	}
	f.Done(results)
}

// settled tells that nothing more will come that a fetch could wait for.
func (s *Store) settled(f *Fetch) bool {
	return s.stats.failed.Load() || s.appliedTurns(f.Shard) >= f.Turn
}

// park keeps a fetch until the next commit. That may have been meanwhile.
func (r *reads) park(f *Fetch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s.settled(f) {
		r.queue = append(r.queue, f)
		r.more.Signal()
		return
	}
	r.parked = append(r.parked, f)
}

// read reads one message. It uses buf and returns it.
func (s *Store) read(buf []byte, it message.Stored) (*message.Message, []byte, error) {
	var key [9]byte
	fail := func(err error) (*message.Message, []byte, error) {
		return nil, buf, fmt.Errorf("store: read message %d/%d: %w", it.Key.Seq(), it.Key.Part(), err)
	}
	if shared(it.Key) || it.Size >= Apart || !it.Sole {
		b, err := s.backend.Get(buf, messageKey(key[:0], it.Key))
		if err == nil {
			buf = b
			m, err := decodeMessage(b, s.clock)
			if err != nil {
				return fail(err)
			}
			return m.Keep(), buf, nil
		}
		if shared(it.Key) || it.Size >= Apart || !errors.Is(err, ErrNotFound) {
			return fail(err)
		}
	}
	b, err := s.backend.Get(buf, receiversKey(key[:0], it.Key))
	if err != nil {
		return fail(err)
	}
	buf = b
	var rs Receivers
	if err := rs.decode(b, s.clock, false); err != nil {
		return fail(err)
	}
	if rs.Apart {
		return fail(errDamaged)
	}
	return rs.Message.Keep(), buf, nil
}
