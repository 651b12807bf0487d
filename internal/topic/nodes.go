package topic

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// root is the number of the node above the first level.
const root = 1

// inline is the longest level, in bytes, that lies in its node.
const inline = 15

// node is one level of a trie. It has no pointers, so that the garbage
// collector does not look at the nodes of a million filters.
type node struct {
	parent   uint32
	chain    uint32 // next node of the same bucket
	hash     uint32 // of parent and text
	children uint32 // in the table, so without plus
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
// (parent, level) for the whole trie, which costs 4 bytes for each node where
// a map in each costs hundreds.
//
// The table is a linear hash table: it grows and shrinks by one bucket at a
// time, so that no subscription has to wait until a million others are moved.
// The seed keeps clients from choosing levels that collide.
type nodes struct {
	slab[node]
	long    slab[string] // levels of more than inline bytes
	buckets slab[uint32] // number of the first node; the buckets are 0 to size-1
	size    uint32
	inTable uint32
	seed    maphash.Seed
}

// start makes the root, unless there is one.
func (s *nodes) start() {
	if s.live > 0 {
		return
	}
	s.seed = maphash.MakeSeed()
	s.alloc(0)
	s.buckets.reach(0)
	s.size = 1
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

// bucket returns where the nodes of a hash begin.
func (s *nodes) bucket(hash uint32) *uint32 {
	mask := uint32(1)<<bits.Len32(s.size-1) - 1
	i := hash & mask
	if i >= s.size {
		i &= mask >> 1
	}
	return s.buckets.at(i)
}

// find returns the child of parent with a literal level, 0 if there is none.
func (s *nodes) find(parent uint32, level []byte) uint32 {
	hash := s.hash(parent, level)
	for id := *s.bucket(hash); id != 0; {
		n := s.at(id)
		if n.hash == hash && n.parent == parent && s.is(n, level) {
			return id
		}
		id = n.chain
	}
	return 0
}

// is reports whether a node stands for level.
func (s *nodes) is(n *node, level []byte) bool {
	if n.size == outside {
		return *s.long.at(n.longID()) == string(level)
	}
	return string(n.text[:n.size]) == string(level)
}

// add makes a child that find hasn't found.
func (s *nodes) add(parent uint32, level []byte) uint32 {
	id := s.alloc(parent)
	n := s.at(id)
	n.hash = s.hash(parent, level)
	if len(level) <= inline {
		n.size = uint8(copy(n.text[:], level))
	} else {
		ref := s.long.alloc()
		*s.long.at(ref) = string(level)
		n.setLongID(ref)
	}
	s.at(parent).children++
	s.inTable++
	s.push(id)
	if s.inTable > s.size {
		s.grow()
	}
	return id
}

func (s *nodes) push(id uint32) {
	n := s.at(id)
	b := s.bucket(n.hash)
	n.chain, *b = *b, id
}

// remove takes out a node that add made and that has no children.
func (s *nodes) remove(id uint32) {
	n := s.at(id)
	link := s.bucket(n.hash)
	for *link != id {
		link = &s.at(*link).chain
	}
	*link = n.chain
	if n.size == outside {
		s.long.release(n.longID())
	}
	s.at(n.parent).children--
	s.release(id)
	s.inTable--
	if s.size > 1 && s.inTable < s.size/2 {
		s.shrink()
	}
}

// grow adds a bucket and shares out the nodes of the one that it splits.
func (s *nodes) grow() {
	s.buckets.reach(s.size)
	old := s.bucket(s.size)
	s.size++
	id := *old
	*old = 0
	for id != 0 {
		next := s.at(id).chain
		s.push(id)
		id = next
	}
}

// shrink takes the last bucket away and gives its nodes to the one that it was split from.
func (s *nodes) shrink() {
	last := s.buckets.at(s.size - 1)
	id := *last
	*last = 0
	s.size--
	for id != 0 {
		next := s.at(id).chain
		s.push(id)
		id = next
	}
	if keep := int((s.size-1)>>chunkBits) + 2; keep < len(s.buckets.chunks) {
		s.buckets.chunks[keep] = nil
		s.buckets.chunks = s.buckets.chunks[:keep]
	}
}

func (n *node) longID() uint32 { return binary.NativeEndian.Uint32(n.text[:]) }

func (n *node) setLongID(id uint32) {
	n.size = outside
	binary.NativeEndian.PutUint32(n.text[:], id)
}
