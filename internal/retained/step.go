package retained

import (
	"time"

	"midge/internal/message"
	"midge/internal/topic"
)

// stepBytes of messages end a step of a walk, so that it does not send much more
// than there is room for.
const stepBytes = 16 << 10

// Step goes on with a walk, which looks at n topics at most. It appends the
// messages that have not expired and are no newer than newest, and returns how
// many topics it has looked at, and whether there are more.
func (r *Messages) Step(all []*message.Message, c *topic.Cursor, n int, newest uint32, now time.Duration) (_ []*message.Message, looked int, more bool) {
	size := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	looked, more = r.messages.Step(c, n, func(k *entry) (more bool) {
		if k.due(newest, now) {
			all = append(all, &k.Message)
			size += k.Size()
		}
		return size < stepBytes
	})
	return all, looked, more
}

// Leave ends a walk before its end.
func (r *Messages) Leave(c *topic.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages.Leave(c)
}

// Newest is the stamp of the message that was retained last.
func (r *Messages) Newest() uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.stamp
}

// Get returns the message of a topic, nil if there is none or it is newer than
// newest.
func (r *Messages) Get(name string, newest uint32, now time.Duration) *message.Message {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if k, ok := r.messages.Get([]byte(name)); ok && k.due(newest, now) {
		return &k.Message
	}
	return nil
}

// due reports whether a message is no newer than newest, and has not expired.
func (k *entry) due(newest uint32, now time.Duration) bool {
	return int32(k.stamp-newest) <= 0 && !k.Expired(now)
}
