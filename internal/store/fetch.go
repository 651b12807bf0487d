package store

import (
	"errors"
	"fmt"
	"sync"

	"midge/internal/message"
)

// Fetch asks for messages. Done is called with one result for each, in order,
// on a goroutine of the store; once that has failed, perhaps for the first of
// them only, or never.
type Fetch struct {
	Shard int
	Turn  uint64 // of the shard: when it is applied, all of the messages are there
	Items []message.Stored
	Done  func([]Result)
}

// Result is a message with memory of its own, or why it is lost: Err wraps
// ErrDamaged.
type Result struct {
	Key     message.Key
	Message *message.Message
	Err     error
}

// readers is the number of goroutines that read messages. Reading waits for
// disks, so that one more than the disk keeps busy is enough.
const readers = 2

// reads are the fetches that wait, and what answers them.
type reads struct {
	backend Backend
	health  *Health
	clock   *clock
	applied func(shard int) uint64 // how many turns of a shard reads see
	fail    func(error)
	loaded  uint64 // messages up to this one were there at the start

	mu     sync.Mutex
	more   sync.Cond
	queue  []*Fetch
	parked []*Fetch // until more is committed, or for ever once the store has failed
	ended  bool
}

func (r *reads) init(b Backend, h *Health, c *clock, applied func(shard int) uint64, fail func(error)) {
	r.backend, r.health, r.clock, r.applied, r.fail = b, h, c, applied, fail
	r.more.L = &r.mu
}

func (r *reads) add(f *Fetch) {
	r.mu.Lock()
	r.queue = append(r.queue, f)
	r.mu.Unlock()
	r.more.Signal()
}

// retry tries the fetches again that did not find everything.
func (r *reads) retry() {
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

// step answers all fetches that can be answered.
func (r *reads) step() {
	for {
		r.mu.Lock()
		queue := r.queue
		r.queue = nil
		r.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, f := range queue {
			r.serve(f)
		}
	}
}

// serve answers a fetch, or parks it if a message may still be on its way to
// the disk. Only what is proven to be damaged or missing is given up: when the
// disk does not read, the store has failed, and a message that was not read waits
// for the next start. Those before it are handed over then.
func (r *reads) serve(f *Fetch) {
	final := r.isFinal(f)
	results := make([]Result, 0, len(f.Items))
	get, end := r.getter(len(f.Items))
	defer end()
	var buf []byte
	for _, it := range f.Items {
		m, b, err := r.read(get, buf[:0], it)
		buf = b
		missing := errors.Is(err, ErrNotFound)
		if missing && final {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			if !missing {
				r.fail(err)
			}
			if len(results) == 0 || !r.health.Failed() {
				r.park(f)
				return
			}
			break
		}
		results = append(results, Result{Key: it.Key, Message: m, Err: err})
	}
	f.Done(results)
}

// getter returns how to get the values for some messages, and what to call when that
// is done.
func (r *reads) getter(messages int) (get func(dst, key []byte) ([]byte, error), end func()) {
	if s, ok := r.backend.(Series); ok && messages > 1 {
		g := s.Getter()
		return g.Get, g.Close
	}
	return r.backend.Get, func() {}
}

// isFinal reports whether nothing more will come that a fetch could wait for.
func (r *reads) isFinal(f *Fetch) bool { return r.applied(f.Shard) >= f.Turn }

// park holds a fetch until the next commit, which may have been meanwhile.
func (r *reads) park(f *Fetch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isFinal(f) && !r.health.Failed() {
		r.queue = append(r.queue, f)
		r.more.Signal()
		return
	}
	r.parked = append(r.parked, f)
}

// read reads one message by get. It uses buf and returns it. A record that makes no
// sense is quarantined first, since whoever asked will delete it.
func (r *reads) read(get func(dst, key []byte) ([]byte, error), buf []byte, it message.Stored) (*message.Message, []byte, error) {
	var key [9]byte
	fail := func(err error) (*message.Message, []byte, error) {
		return nil, buf, fmt.Errorf("store: read message %d/%d: %w", it.Key.Seq(), it.Key.Part(), err)
	}
	damaged := func(key []byte, err error) (*message.Message, []byte, error) {
		if failure := r.backend.Quarantine([]Damaged{{key, buf, err}}); failure != nil {
			return fail(failure)
		}
		return fail(err)
	}
	if shared(it.Key) || it.Size >= SeparateBytes || !it.Sole {
		b, err := get(buf, messageKey(key[:0], it.Key))
		if err == nil {
			buf = b
			m, err := decodeMessage(b, r.clock.times)
			if err != nil {
				return damaged(messageKey(key[:0], it.Key), err)
			}
			return r.clone(it.Key, &m), buf, nil
		}
		if shared(it.Key) || it.Size >= SeparateBytes || !errors.Is(err, ErrNotFound) {
			return fail(err)
		}
	}
	b, err := get(buf, receiversKey(key[:0], it.Key))
	if err != nil {
		return fail(err)
	}
	buf = b
	var rs Receivers
	if err := rs.decode(b, r.clock.times, false); err != nil {
		return damaged(receiversKey(key[:0], it.Key), err)
	}
	if rs.Separate {
		return damaged(receiversKey(key[:0], it.Key), errDamaged)
	}
	return r.clone(it.Key, &rs.Message), buf, nil
}

// clone is a message with memory of its own. If it was there at the start, it
// expires no later than was asked for from then on.
func (r *reads) clone(k message.Key, m *message.Message) *message.Message {
	if k.Seq() <= r.loaded {
		m.Expires = r.clock.limit(m.Expires, m.Interval)
	}
	return m.Clone()
}
