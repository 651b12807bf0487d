package topic

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// root is the number of the node above the first level.
const root = 1

// inline is the longest text, in bytes, that lies in its node.
const inline = 15

// node is a place in a trie, some levels below its parent: one in a trie of
// Names, and in a Tree as many as there are without a branch. It has no pointers,
// so that the garbage collector does not look at the nodes of a million filters.
type node struct {
	parent   uint32
	children uint32 // in the table, so without plus
	mixed    uint32 // the numbers of these children, xored: of a single one, its number
	plus     uint32 // the child "+", of a Tree only
	values   uint32 // first value of the filter, or the value of the name, that ends here
	multi    uint32 // first value of the filter that goes on with "#" only, of a Tree only
	size     uint8  // length of text, or outside
	text     [inline]byte
}

// outside as a size says that text begins with the number of an element of nodes.long.
const outside = inline + 1

// list is where the values of the filter that ends at n begin, or of n and "#".
func (n *node) list(multi bool) *uint32 {
	if multi {
		return &n.multi
	}
	return &n.values
}

// nodes is the memory of a trie. Children are found through one hash table of
// (parent, first level) for the whole trie, where a map in each node would cost
// hundreds of bytes. The seed keeps clients from choosing levels that collide.
type nodes struct {
	slab[node]
	long  slab[[]byte] // texts of more than inline bytes
	table table
	seed  maphash.Seed
}

// start makes the root, unless there is one.
func (s *nodes) start() {
	if s.live > 0 {
		return
	}
	s.seed = maphash.MakeSeed()
	s.alloc(0)
	s.table.start()
}

func (s *nodes) alloc(parent uint32) uint32 {
	id := s.slab.alloc()
	s.at(id).parent = parent
	return id
}

func (s *nodes) hash(parent uint32, level []byte) uint32 {
	h := (maphash.Bytes(s.seed, level) ^ uint64(parent)) * 0x9E3779B97F4A7C15
	return uint32(h >> 32)
}

// hashOf is the hash under which the table has a node.
func (s *nodes) hashOf(id uint32) uint32 {
	n := s.at(id)
	level, _, _ := cut(s.text(n))
	return s.hash(n.parent, level)
}

// text is what leads from its parent to a node. Nobody changes it.
func (s *nodes) text(n *node) []byte {
	if n.size == outside {
		return *s.long.at(n.longID())
	}
	return n.text[:n.size]
}

// setText gives a node its text, of which nothing is kept.
func (s *nodes) setText(n *node, text []byte) {
	if len(text) <= inline {
		n.size = uint8(copy(n.text[:], text))
		return
	}
	ref := s.long.alloc()
	*s.long.at(ref) = bytes.Clone(text)
	n.size = outside
	binary.NativeEndian.PutUint32(n.text[:], ref)
}

// dropText frees the text of a node, if it lies outside.
func (s *nodes) dropText(n *node) {
	if n.size == outside {
		s.long.release(n.longID())
	}
}

func (n *node) longID() uint32 { return binary.NativeEndian.Uint32(n.text[:]) }

// find returns the child of parent whose text begins with a literal level, 0 if
// there is none.
func (s *nodes) find(parent uint32, level []byte) uint32 {
	hash := s.hash(parent, level)
	b := s.table.bucket(hash)
	return s.among(b, b.with(tagOf(hash)), hash, parent, level)
}

// among is find in a bucket that has a hash at some places, and those behind it.
func (s *nodes) among(b *bucket, at places, hash, parent uint32, level []byte) uint32 {
	for {
		for at != 0 {
			if id := b.ids[at.next()]; s.is(id, parent, level) {
				return id
			}
		}
		if b.next == 0 {
			return 0
		}
		b = s.table.further.at(b.next)
		at = b.with(tagOf(hash))
	}
}

// follow goes to the child of parent whose text rest begins with, where level is
// rest's first level, and returns what comes behind it; 0 if there is none.
func (s *nodes) follow(parent uint32, level, rest []byte) (id uint32, after []byte, more bool) {
	if id = s.find(parent, level); id == 0 {
		return 0, nil, false
	}
	n, ok := beginsWith(rest, s.text(s.at(id)))
	switch {
	case !ok:
		return 0, nil, false
	case n == len(rest):
		return id, nil, false
	}
	return id, rest[n+1:], true
}

// beginsWith reports whether some levels begin with others, which have n bytes.
func beginsWith(levels, others []byte) (n int, ok bool) {
	n = len(others)
	if len(levels) < n || string(levels[:n]) != string(others) {
		return 0, false
	}
	return n, len(levels) == n || levels[n] == '/'
}

// is reports whether a node is the child of parent whose text begins with level.
func (s *nodes) is(id, parent uint32, level []byte) bool {
	n := s.at(id)
	if n.parent != parent {
		return false
	}
	_, ok := beginsWith(s.text(n), level)
	return ok
}

// add makes a child that find hasn't found. text begins with its first level.
func (s *nodes) add(parent uint32, level, text []byte) uint32 {
	id := s.alloc(parent)
	s.setText(s.at(id), text)
	s.adopt(parent, id)
	s.table.insert(s.hash(parent, level), id)
	s.table.count++
	s.table.grow(s.hashOf)
	return id
}

// remove takes out a node that add made and that has no children.
func (s *nodes) remove(id uint32) {
	n := s.at(id)
	s.table.remove(s.hashOf(id), id)
	s.disown(n.parent, id)
	s.dropText(n)
	s.release(id)
	s.table.count--
	s.table.shrink(s.hashOf)
}

// adopt and disown change the children of a node.
func (s *nodes) adopt(parent, id uint32) {
	p := s.at(parent)
	p.children++
	p.mixed ^= id
}

func (s *nodes) disown(parent, id uint32) {
	p := s.at(parent)
	p.children--
	p.mixed ^= id
}

// split makes a node for the first n bytes of a node's text, some levels, and
// returns it: the parent of the node from now on.
func (s *nodes) split(id uint32, n int) uint32 {
	below := s.at(id)
	text, hash := s.text(below), s.hashOf(id)
	between := s.alloc(below.parent)
	s.setText(s.at(between), text[:n])
	s.table.replace(hash, id, between)
	s.disown(below.parent, id)
	s.adopt(below.parent, between)
	s.adopt(between, id)
	below.parent = between
	s.shorten(below, text[n+1:])
	s.table.insert(s.hashOf(id), id)
	s.table.count++
	s.table.grow(s.hashOf)
	return between
}

// shorten gives a node a part of its text.
func (s *nodes) shorten(n *node, part []byte) {
	long := n.size == outside
	ref := n.longID()
	s.setText(n, part)
	if long {
		s.long.release(ref)
	}
}

// join takes out a node that has one child and nothing else: its text goes in
// front of the child's.
func (s *nodes) join(id uint32) {
	n := s.at(id)
	only := n.mixed
	below := s.at(only)
	hash := s.hashOf(id)
	s.table.remove(s.hashOf(only), only)
	s.table.replace(hash, id, only)
	s.disown(n.parent, id)
	s.adopt(n.parent, only)
	below.parent = n.parent
	text := slices.Concat(s.text(n), []byte{'/'}, s.text(below))
	s.dropText(below)
	s.setText(below, text)
	s.dropText(n)
	s.release(id)
	s.table.count--
	s.table.shrink(s.hashOf)
}
