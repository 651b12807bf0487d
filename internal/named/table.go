// Package named finds things by a name that they have themselves, like a client by
// its id. A map needs 50 bytes for one, for it has the name once more and room
// for as many again after it has grown. A Table needs 14.
package named

import (
	"hash/maphash"
	"math/bits"
)

// Table finds a *T by its name. It grows by parts, so that no call takes
// longer than some 1,000 names do, and shrinks when names are removed. It is not
// safe for concurrent use.
//
// The first bits of a name's hash choose its part, as in extendible hashing:
// parts has 1<<depth places, and a part takes all of them that agree in the
// first bits it goes by.
type Table[T any] struct {
	name  func(*T) string
	seed  maphash.Seed
	parts []*part[T]
	depth int
	n     int
}

// part is an open table: a thing is at the first place free from where its hash
// says. A mark is 0 for a free place, and bits of the hash for the others, so
// that nearly every place with another name is passed without a look at it.
type part[T any] struct {
	depth  int // bits of the hash that are the same for all in it
	n      int
	marks  []uint8
	things []*T
}

const (
	leastPlaces = 8
	maxPlaces   = 1024 // of a part; a larger one is split
)

// full is the number of things for which a part of so many places is full.
func full(places int) int { return places / 8 * 7 }

// New returns a Table of things with that name, which does not change while
// they are in it.
func New[T any](name func(*T) string) *Table[T] {
	return &Table[T]{name: name, seed: maphash.MakeSeed(), parts: []*part[T]{newPart[T](0, leastPlaces)}}
}

func newPart[T any](depth, places int) *part[T] {
	return &part[T]{depth: depth, marks: make([]uint8, places), things: make([]*T, places)}
}

// Len is the number of things.
func (t *Table[T]) Len() int { return t.n }

// Get returns the thing with the name, nil if there is none.
func (t *Table[T]) Get(name string) *T {
	h := maphash.String(t.seed, name)
	p := t.part(h)
	return p.things[t.find(p, h, name)]
}

// Put adds a thing, in place of the one with its name.
func (t *Table[T]) Put(thing *T) {
	name := t.name(thing)
	h := maphash.String(t.seed, name)
	for {
		p := t.part(h)
		at := t.find(p, h, name)
		if p.marks[at] == 0 {
			if p.n == full(len(p.marks)) {
				t.grow(p, h)
				continue
			}
			p.n++
			t.n++
		}
		p.marks[at], p.things[at] = mark(h), thing
		return
	}
}

// Remove removes the thing with the name, if there is one.
func (t *Table[T]) Remove(name string) {
	h := maphash.String(t.seed, name)
	p := t.part(h)
	at := t.find(p, h, name)
	if p.marks[at] == 0 {
		return
	}
	p.n--
	t.n--
	t.close(p, at)
	if len(p.marks) > leastPlaces && p.n < len(p.marks)/4 {
		t.replace(t.fill(p.depth, p.things, func(uint64) bool { return true }), h)
	}
}

// All calls yield for each thing, in no order, until it returns false. The
// Table must not change in the meantime.
func (t *Table[T]) All(yield func(*T) bool) {
	for i := 0; i < len(t.parts); {
		p := t.parts[i]
		for _, thing := range p.things {
			if thing != nil && !yield(thing) {
				return
			}
		}
		i += 1 << (t.depth - p.depth)
	}
}

// Scan calls yield for some things, 1,000 at most, in no order: those of the part of the Table
// where a cursor is, 0 at first. It returns the cursor for the next call, and false if there is
// no more. The Table may change between two calls; what is there all the time is scanned once at least.
func (t *Table[T]) Scan(cursor uint64, yield func(*T)) (next uint64, more bool) {
	p := t.part(cursor)
	for _, thing := range p.things {
		if thing != nil {
			yield(thing)
		}
	}
	if p.depth == 0 {
		return 0, false
	}
	size := uint64(1) << (64 - p.depth) // of the hashes of the part
	next = cursor&^(size-1) + size
	return next, next != 0
}

func (t *Table[T]) part(h uint64) *part[T] { return t.parts[h>>(64-t.depth)] }

// find returns the place of the thing with a name, or the free one for it.
func (t *Table[T]) find(p *part[T], h uint64, name string) int {
	m, last := mark(h), len(p.marks)-1
	at := int(h) & last
	for ; p.marks[at] != 0; at = (at + 1) & last {
		if p.marks[at] == m && t.name(p.things[at]) == name {
			break
		}
	}
	return at
}

// mark is made of bits that choose neither the part nor the place.
func mark(h uint64) uint8 { return uint8(h>>16) | 1 }

// close makes a place free. Those behind it that could not have theirs move up.
func (t *Table[T]) close(p *part[T], hole int) {
	last := len(p.marks) - 1
	for at := (hole + 1) & last; p.marks[at] != 0; at = (at + 1) & last {
		home := int(maphash.String(t.seed, t.name(p.things[at]))) & last
		if (at-home)&last >= (at-hole)&last {
			p.marks[hole], p.things[hole] = p.marks[at], p.things[at]
			hole = at
		}
	}
	p.marks[hole], p.things[hole] = 0, nil
}

// grow gives a part that is full more places, or makes two of it. h is a hash in it.
func (t *Table[T]) grow(p *part[T], h uint64) {
	if len(p.marks) < maxPlaces {
		t.replace(t.fill(p.depth, p.things, func(uint64) bool { return true }), h)
		return
	}
	if p.depth == t.depth {
		parts := make([]*part[T], 2*len(t.parts))
		for i := range parts {
			parts[i] = t.parts[i/2]
		}
		t.parts = parts
		t.depth++
	}
	next := uint64(1) << (63 - p.depth)
	t.replace(t.fill(p.depth+1, p.things, func(h uint64) bool { return h&next == 0 }), h&^next)
	t.replace(t.fill(p.depth+1, p.things, func(h uint64) bool { return h&next != 0 }), h|next)
}

// fill returns a part with the things whose hash is one for it, with room for
// more.
func (t *Table[T]) fill(depth int, things []*T, takes func(h uint64) bool) *part[T] {
	var hashes []uint64
	var taken []*T
	for _, thing := range things {
		if thing == nil {
			continue
		}
		if h := maphash.String(t.seed, t.name(thing)); takes(h) {
			hashes, taken = append(hashes, h), append(taken, thing)
		}
	}
	places := max(leastPlaces, 1<<bits.Len(uint(len(taken)*8/7)))
	p := newPart[T](depth, places)
	for i, thing := range taken {
		at := int(hashes[i]) & (places - 1)
		for p.marks[at] != 0 {
			at = (at + 1) & (places - 1)
		}
		p.marks[at], p.things[at] = mark(hashes[i]), thing
	}
	p.n = len(taken)
	return p
}

// replace puts a part into all places that are its own, of which the hash h has one.
func (t *Table[T]) replace(by *part[T], h uint64) {
	width := t.depth - by.depth
	first := int(h>>(64-t.depth)) >> width << width
	for i := first; i < first+1<<width; i++ {
		t.parts[i] = by
	}
}
