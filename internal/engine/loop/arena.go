package loop

import "bytes"

// Arena holds output of a shard's turn: of each connection that has only one
// message to send. A fan-out sends the same bytes to many connections, and
// they share one copy. The zero value is an empty arena. The thread that holds
// the shard's token uses it.
type Arena struct {
	messages       []byte
	last, lastSize int // the last message
}

// Arenas are memory of arenas that no shard of the thread uses now.
type Arenas struct {
	Max  int // so many are kept
	free [][]byte
}

const (
	// arenaBytes are the most that an arena holds, unless its only message is
	// larger.
	arenaBytes = 4 << 20

	// maxFreeArena is the largest arena that is kept for another turn, in bytes.
	maxFreeArena = 64 << 10

	// firstArena is the size of a new one, in bytes.
	firstArena = 4 << 10
)

// Put appends a message of at least one byte, head and then body, and returns
// where it begins. ok is false if the arena is full: what it holds must be written
// first, and then the arena reset.
func (a *Arena) Put(head, body []byte, memory *Arenas) (offset uint32, ok bool) {
	n := len(head) + len(body)
	if n == a.lastSize {
		last := a.messages[a.last:]
		if bytes.Equal(last[:len(head)], head) && bytes.Equal(last[len(head):n], body) {
			return uint32(a.last), true
		}
	}
	if len(a.messages)+n > arenaBytes && len(a.messages) > 0 {
		return 0, false
	}
	if a.messages == nil {
		a.messages = memory.take()
	}
	a.last, a.lastSize = len(a.messages), n
	a.messages = append(append(a.messages, head...), body...)
	return uint32(a.last), true
}

// At returns a message in place. It is good until the next Put or Reset.
func (a *Arena) At(offset, size uint32) []byte {
	return a.messages[offset : offset+size]
}

// Reset empties the arena: nothing refers to its messages any more.
func (a *Arena) Reset(memory *Arenas) {
	if a.messages != nil {
		memory.give(a.messages)
	}
	*a = Arena{}
}

// take returns empty memory.
func (m *Arenas) take() []byte {
	if n := len(m.free); n > 0 {
		b := m.free[n-1]
		m.free = m.free[:n-1]
		return b
	}
	return make([]byte, 0, firstArena)
}

// give keeps memory for the next turn unless it has grown large.
func (m *Arenas) give(b []byte) {
	if cap(b) <= maxFreeArena && len(m.free) < m.Max {
		m.free = append(m.free, b[:0])
	}
}
