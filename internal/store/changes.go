package store

import (
	"encoding/binary"
	"iter"
)

// Changes is a list of changes to a store of ordered keys, encoded as it is
// built: a shard fills it without an allocation for each, and the committer
// passes it on without looking into it. The zero value is empty and ready for
// use. It belongs to one goroutine at a time.
type Changes struct {
	b []byte
	n int
}

// Op is the kind of a Change.
type Op uint8

// The kinds.
const (
	OpSet         Op = 1 + iota // Key gets Value
	OpDelete                    // Key goes
	OpDeleteOnce                // Key goes, which was set exactly once since it last went
	OpDeleteRange               // all keys from Key to before Value go
)

// Change is one change. Its bytes are borrowed from the list.
type Change struct {
	Op         Op
	Key, Value []byte
}

// Set gives a key a value.
func (c *Changes) Set(key, value []byte) { c.add(OpSet, key, value) }

// Delete removes a key, if it is there.
func (c *Changes) Delete(key []byte) { c.add(OpDelete, key, nil) }

// DeleteOnce removes a key that was set exactly once since it was last
// removed. That lets a store forget both at once.
func (c *Changes) DeleteOnce(key []byte) { c.add(OpDeleteOnce, key, nil) }

// DeleteRange removes all keys from the first to before the second.
func (c *Changes) DeleteRange(from, to []byte) { c.add(OpDeleteRange, from, to) }

func (c *Changes) add(op Op, key, value []byte) {
	c.b = append(c.b, byte(op))
	c.b = binary.AppendUvarint(c.b, uint64(len(key)))
	c.b = append(c.b, key...)
	if op == OpSet || op == OpDeleteRange {
		c.b = binary.AppendUvarint(c.b, uint64(len(value)))
		c.b = append(c.b, value...)
	}
	c.n++
}

// Len is the number of changes.
func (c *Changes) Len() int { return c.n }

// Size is the memory that the list takes, in bytes.
func (c *Changes) Size() int { return len(c.b) }

// Append adds the changes of another list.
func (c *Changes) Append(o *Changes) {
	c.b = append(c.b, o.b...)
	c.n += o.n
}

// Reset empties the list. It keeps the memory unless that is a lot.
func (c *Changes) Reset() {
	if cap(c.b) > 1<<20 {
		c.b = nil
	}
	c.b, c.n = c.b[:0], 0
}

// All yields the changes in their order.
func (c *Changes) All() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for b := c.b; len(b) > 0; {
			ch := Change{Op: Op(b[0])}
			ch.Key, b = field(b[1:])
			if ch.Op == OpSet || ch.Op == OpDeleteRange {
				ch.Value, b = field(b)
			}
			if !yield(ch) {
				return
			}
		}
	}
}

// field splits off a piece of bytes with its length in front.
func field(b []byte) (piece, rest []byte) {
	n, size := binary.Uvarint(b)
	end := size + int(n)
	return b[size:end:end], b[end:]
}
