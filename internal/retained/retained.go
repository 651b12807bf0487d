// Package retained holds the retained messages of all topics (MQTT 5.0 section
// 3.3.1.3), within limits of their number and bytes, until they expire.
//
// It knows no clients: it finds the messages that a filter matches, step by step,
// and its caller delivers them. What is durable it hands to a Store. All shards
// share one Messages, which has a lock; docs/design/broker.md says why it is not
// spread over them.
//
// Files, from the bottom up: expiring.go, retained.go, step.go.
package retained

import (
	"container/heap"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"midge/internal/message"
	"midge/internal/topic"
)

// Messages are the retained messages of all topics.
type Messages struct {
	mu       sync.RWMutex
	messages topic.Names[*entry]
	bytes    int64
	own      struct{ messages, bytes int64 } // of these, the broker's, which no limit counts
	isOwn    func(topic []byte) bool
	expiring expiring     // those of messages that expire
	expired  uint64       // how many ever have
	stamp    uint32       // of the message that was retained last
	store    Store        // nil: they are only in memory
	max      int          // messages
	maxBytes int64        // bytes
	budget   atomic.Int64 // part of the memory budget, in bytes
}

// entry is a retained message, in 112 bytes and those of its contents.
type entry struct {
	message.Message
	stamp uint32 // goes up with each message that is retained, modulo 2^32
	place int32  // in Messages.expiring, counted from 1; 0: it never expires
}

// Store makes retained messages durable. Methods are called with the lock of
// Messages, so that they come in the order of the changes.
type Store interface {
	Retain(m *message.Message)
	Unretain(topic []byte)
}

// New returns Messages without any. st is nil if they are only in memory. isOwn
// reports whether a topic is the broker's own: limits and the store pass over those.
func New(st Store, isOwn func(topic []byte) bool) *Messages {
	r := &Messages{store: st, isOwn: isOwn}
	r.budget.Store(math.MaxInt64)
	return r
}

// Limit sets the limits. What is retained already stays.
func (r *Messages) Limit(messages int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.max, r.maxBytes = messages, bytes
}

// SetBudget sets how much of the process's memory they may take, in bytes.
func (r *Messages) SetBudget(bytes int64) { r.budget.Store(bytes) }

// Set keeps a copy of m as the retained message of its topic (MQTT-3.3.1-5); an
// empty payload removes the one that is there (MQTT-3.3.1-6, -7). It reports false
// if there is no room: then the old message goes as well, for it is no longer the
// last one. short says that memory is: there is no room for more than there is.
func (r *Messages) Set(m *message.Message, now time.Duration, short bool) bool {
	if len(m.Payload) == 0 {
		r.mu.Lock()
		r.remove(m.Topic)
		r.mu.Unlock()
		return true
	}
	k := &entry{}
	m.CloneInto(&k.Message)
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.isOwn(m.Topic)
	if !own && !r.room(k, short) {
		if r.sweep(now); !r.room(k, short) {
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

// room reports whether the limits allow a client's message.
func (r *Messages) room(k *entry, short bool) bool {
	before := r.bytes - r.own.bytes
	n, size := int64(r.messages.Len())-r.own.messages+1, before+int64(k.Size())
	if old, replaced := r.messages.Get(k.Topic); replaced {
		n--
		size -= int64(old.Size())
	}
	grows := size > before
	return n <= int64(r.max) && size <= r.maxBytes && !(grows && (short || size > r.budget.Load()))
}

// put makes k the message of its topic.
func (r *Messages) put(k *entry) {
	r.stamp++
	k.stamp = r.stamp
	old, replaced := r.messages.Set(k.Topic, k)
	r.bytes += int64(k.Size())
	if r.isOwn(k.Topic) {
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
func (r *Messages) forget(k *entry) {
	r.bytes -= int64(k.Size())
	if r.isOwn(k.Topic) {
		r.own.messages--
		r.own.bytes -= int64(k.Size())
	}
	if k.place != 0 {
		heap.Remove(&r.expiring, int(k.place)-1)
	}
}

// Load puts a message from the store back.
func (r *Messages) Load(m *message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(&entry{Message: *m})
}

func (r *Messages) remove(name []byte) {
	old, ok := r.messages.Delete(name)
	if !ok {
		return
	}
	r.forget(old)
	if r.store != nil && !r.isOwn(name) {
		r.store.Unretain(name)
	}
}

// maxSwept is how many messages one sweep removes, in half a millisecond or so.
const maxSwept = 250

// Sweep removes messages that have expired, some at a time, and returns when the
// next one does; ok is false if there is none.
func (r *Messages) Sweep(now time.Duration) (next time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	if len(r.expiring) == 0 {
		return 0, false
	}
	return r.expiring[0].Expires, true
}

func (r *Messages) sweep(now time.Duration) {
	for range maxSwept {
		if len(r.expiring) == 0 || !r.expiring[0].Expired(now) {
			return
		}
		r.expired++
		r.remove(r.expiring[0].Topic)
	}
}

// Count returns how many messages there are, their bytes, and how many have
// expired since the start.
func (r *Messages) Count() (messages, bytes, expired uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return uint64(r.messages.Len()), uint64(r.bytes), r.expired
}
