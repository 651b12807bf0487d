package broker

import (
	"strings"
	"sync"
	"time"

	"midge/internal/message"
	"midge/internal/topic"
)

// retained holds the retained messages (MQTT 5.0 section 3.3.1.3) of all
// topics. All shards use it; see interest for why it is not spread over them.
type retained struct {
	mu       sync.RWMutex
	messages topic.Names[*message.Message]
	bytes    int64
	store    Store // nil: they are only in memory
	most     int   // messages
	mostSize int64 // bytes
}

func (r *retained) init(l Limits, st Store) {
	r.most, r.mostSize, r.store = l.RetainedMessages, l.RetainedBytes, st
}

// set keeps a copy of m as the retained message of its topic; an empty payload
// removes the one that is there. It reports false if there is no room: then
// the old message goes as well, for it is no longer the last one.
func (r *retained) set(m *message.Message) bool {
	if len(m.Payload) == 0 {
		r.mu.Lock()
		r.remove(m.Topic)
		r.mu.Unlock()
		return true
	}
	kept := m.Keep()
	r.mu.Lock()
	defer r.mu.Unlock()
	ours := sysTopic(m.Topic) && m.Publisher == ""
	old, replaced := r.messages.Get(m.Topic)
	n, size := r.messages.Len()+1, r.bytes+int64(kept.Size())
	if replaced {
		n--
		size -= int64(old.Size())
	}
	if !ours && (n > r.most || size > r.mostSize) {
		r.remove(m.Topic)
		return false
	}
	r.messages.Set(kept.Topic, kept)
	r.bytes = size
	if r.store != nil && !ours {
		r.store.Retain(kept)
	}
	return true
}

// load puts a message from the store back.
func (r *retained) load(m *message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages.Set(m.Topic, m)
	r.bytes += int64(m.Size())
}

func (r *retained) remove(name []byte) {
	old, ok := r.messages.Delete(name)
	if !ok {
		return
	}
	r.bytes -= int64(old.Size())
	if r.store != nil {
		r.store.Unretain(name)
	}
}

// matches appends the messages that a filter matches, and removes those whose
// time is over.
func (r *retained) matches(all []*message.Message, filter string, now time.Duration) []*message.Message {
	start := len(all)
	var expired int
	r.mu.RLock()
	if !strings.ContainsAny(filter, "+#") {
		if m, ok := r.messages.Get([]byte(filter)); ok {
			all = append(all, m)
		}
	} else {
		r.messages.Walk(filter, func(_ []byte, m *message.Message) bool {
			all = append(all, m)
			return true
		})
	}
	r.mu.RUnlock()
	live := all[:start]
	for _, m := range all[start:] {
		if m.Expired(now) {
			expired++
			r.expire(m)
			continue
		}
		live = append(live, m)
	}
	if expired > 0 {
		clear(all[len(live):])
	}
	return live
}

// expire removes m unless another message has taken its place.
func (r *retained) expire(m *message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, ok := r.messages.Get(m.Topic); ok && now == m {
		r.remove(m.Topic)
	}
}

// current tells whether m is still the retained message of its topic.
func (r *retained) current(m *message.Message) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now, ok := r.messages.Get(m.Topic)
	return ok && now == m
}

func (r *retained) size() (n int, bytes int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.messages.Len(), r.bytes
}
