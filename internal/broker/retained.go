package broker

import (
	"container/heap"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/message"
	"midge/internal/topic"
)

// retained holds the retained messages (MQTT 5.0 section 3.3.1.3) of all
// topics. All shards use it; see interest for why it is not spread over them.
type retained struct {
	mu       sync.RWMutex
	messages topic.Names[*kept]
	bytes    int64
	own      struct{ messages, bytes int64 } // of these, the broker's, which no limit counts
	expiring expiring                        // those of messages that end
	ended    uint64                          // how many ever have
	stamp    uint32                          // of the message that was kept last
	store    Store                           // nil: they are only in memory
	most     int                             // messages
	mostSize int64                           // bytes
	share    atomic.Int64                    // of the memory budget, in bytes
}

// kept is a retained message, in 112 bytes and those of its contents.
type kept struct {
	message.Message
	stamp uint32 // goes up with each message that is kept, modulo 2^32
	place int32  // in retained.expiring, counted from 1; 0: it never ends
}

// expiring is a heap: the message that ends first is at its root.
type expiring []*kept

func (e expiring) Len() int           { return len(e) }
func (e expiring) Less(i, j int) bool { return e[i].Expires < e[j].Expires }

func (e expiring) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = int32(i+1), int32(j+1)
}

// Push implements heap.Interface.
func (e *expiring) Push(x any) {
	k := x.(*kept)
	*e = append(*e, k)
	k.place = int32(len(*e))
}

// Pop implements heap.Interface.
func (e *expiring) Pop() any {
	last := len(*e) - 1
	k := (*e)[last]
	(*e)[last] = nil
	if *e = (*e)[:last]; last == 0 {
		*e = nil // give back the memory
	}
	k.place = 0
	return k
}

func (r *retained) init(f *inForce, st Store) {
	r.store = st
	r.share.Store(math.MaxInt64)
	r.bound(f)
}

// bound sets the limits. What is retained already stays.
func (r *retained) bound(f *inForce) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most, r.mostSize = f.Limits.RetainedMessages, int64(f.Limits.RetainedBytes)
}

// retainedShare of the memory budget (one part in so many) is for retained
// messages. Nobody takes them away again when memory is short.
const retainedShare = 3

// set keeps a copy of m as the retained message of its topic; an empty payload
// removes the one that is there. It reports false if there is no room: then
// the old message goes as well, for it is no longer the last one. short tells
// that memory is: there is no room for more than there is.
func (r *retained) set(m *message.Message, now time.Duration, short bool) bool {
	if len(m.Payload) == 0 {
		r.mu.Lock()
		r.remove(m.Topic)
		r.mu.Unlock()
		return true
	}
	k := &kept{}
	m.CloneInto(&k.Message)
	r.mu.Lock()
	defer r.mu.Unlock()
	own := ownTopic(m.Topic)
	if !own && !r.room(k, short) {
		if r.sweepLocked(now); !r.room(k, short) {
			r.remove(m.Topic)
			return false
		}
	}
	r.put(k)
	if r.store != nil && !own {
		r.store.Retain(&k.Message)
	}
	return true
}

// room tells whether the limits allow a client's message.
func (r *retained) room(k *kept, short bool) bool {
	before := r.bytes - r.own.bytes
	n, size := int64(r.messages.Len())-r.own.messages+1, before+int64(k.Size())
	if old, replaced := r.messages.Get(k.Topic); replaced {
		n--
		size -= int64(old.Size())
	}
	grows := size > before
	return n <= int64(r.most) && size <= r.mostSize && !(grows && (short || size > r.share.Load()))
}

// put makes k the message of its topic.
func (r *retained) put(k *kept) {
	r.stamp++
	k.stamp = r.stamp
	old, replaced := r.messages.Set(k.Topic, k)
	r.bytes += int64(k.Size())
	if ownTopic(k.Topic) {
		r.own.messages++
		r.own.bytes += int64(k.Size())
	}
	if replaced {
		r.forget(old)
	}
	if k.Expires != 0 {
		heap.Push(&r.expiring, k)
	}
}

// forget is what follows when a message is not the one of its topic any more.
func (r *retained) forget(k *kept) {
	r.bytes -= int64(k.Size())
	if ownTopic(k.Topic) {
		r.own.messages--
		r.own.bytes -= int64(k.Size())
	}
	if k.place != 0 {
		heap.Remove(&r.expiring, int(k.place)-1)
	}
}

// load puts a message from the store back.
func (r *retained) load(m *message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(&kept{Message: *m})
}

func (r *retained) remove(name []byte) {
	old, ok := r.messages.Delete(name)
	if !ok {
		return
	}
	r.forget(old)
	if r.store != nil && !ownTopic(name) {
		r.store.Unretain(name)
	}
}

// mostSwept is how many messages one sweep removes, in half a millisecond or so.
const mostSwept = 250

// sweep removes messages whose time is over, and returns when there is more to
// do; forever: not before another message comes.
func (r *retained) sweep(now time.Duration) (next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(now)
	if len(r.expiring) == 0 {
		return forever
	}
	return r.expiring[0].Expires
}

func (r *retained) sweepLocked(now time.Duration) {
	for range mostSwept {
		if len(r.expiring) == 0 || !r.expiring[0].Expired(now) {
			return
		}
		r.ended++
		r.remove(r.expiring[0].Topic)
	}
}

// count tells what there is of retained messages.
func (r *retained) count(c *Counters) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c.Retained, c.RetainedBytes, c.RetainedExpired = uint64(r.messages.Len()), uint64(r.bytes), r.ended
}

// sweeper is the timer by which shard 0 removes retained messages whose time is
// over. Nobody gets them in the meantime.
type sweeper struct{ timer timer }

const (
	sweepEvery = time.Second
	sweepIdle  = 10 * time.Second // so often it looks whether some have come
)

func (y *sweeper) start(s *shard) {
	y.timer.owner = y
	s.timers.start(&y.timer, 0)
}

// expire implements expirer.
func (y *sweeper) expire(s *shard) {
	next := s.now + sweepEvery
	if s.failing() == nil && !s.diskBusy() {
		due := s.b.retained.sweep(s.now)
		if next = s.now + tick; due > s.now {
			next = min(max(due, s.now+sweepEvery), s.now+sweepIdle)
		}
	}
	s.timers.start(&y.timer, next)
}
