package topic

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// table finds nodes by their hashes. It is a linear hash table: it grows and
// shrinks by one bucket at a time, so that no subscription has to wait until a
// million others are moved.
//
// A bucket is one line of the processor's cache: of each of its nodes it has
// eight bits of the hash, so that a search that finds nothing rarely looks at a
// node, and one that finds something looks at one.
type table struct {
	buckets slab[bucket] // 0 to size-1; never allocated or released by itself
	further slab[bucket] // of buckets that are full
	size    uint32
	count   uint32 // of nodes
}

const (
	slots = 12
	fill  = 7 // nodes for each bucket, on average, above which the table grows
)

// bucket has the nodes of some hashes, from place 0 on, in no order.
type bucket struct {
	tags [slots]uint8 // of the nodes' hashes; 0: none
	ids  [slots]uint32
	next uint32 // in further; 0: there is none
}

// tagOf is what a bucket has of a hash. The lower bits choose the bucket.
func tagOf(hash uint32) uint8 { return max(uint8(hash>>24), 1) }

// bucket returns where the nodes of a hash begin.
func (t *table) bucket(hash uint32) *bucket {
	mask := uint32(1)<<bits.Len32(t.size-1) - 1
	i := hash & mask
	if i >= t.size {
		i &= mask >> 1
	}
	return t.buckets.at(i)
}

// places is a set of places in a bucket: bit 8i+7 is place i, and bit 8i+6 place
// 8+i.
type places uint64

// with returns the places whose tags are tag, and rarely another one.
func (b *bucket) with(tag uint8) places {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	low := binary.LittleEndian.Uint64(b.tags[:8]) ^ ones*uint64(tag)
	high := binary.LittleEndian.Uint32(b.tags[8:]) ^ ones&math.MaxUint32*uint32(tag)
	low = (low - ones) &^ low & tops
	high = (high - ones&math.MaxUint32) &^ high & (tops & math.MaxUint32)
	return places(low | uint64(high)>>1)
}

// next takes a place out of a set that is not empty.
func (p *places) next() int {
	bit := bits.TrailingZeros64(uint64(*p))
	*p &= *p - 1
	return bit>>3 | ^bit&1<<3
}

// start makes the first bucket.
func (t *table) start() {
	t.buckets.reach(0)
	t.size = 1
}

// insert adds a node.
func (t *table) insert(hash, id uint32) {
	b := t.bucket(hash)
	for {
		for i := range b.tags {
			if b.tags[i] == 0 {
				b.tags[i], b.ids[i] = tagOf(hash), id
				return
			}
		}
		if b.next == 0 {
			b.next = t.further.alloc()
		}
		b = t.further.at(b.next)
	}
}

// find returns the bucket of a node that is there, and its place.
func (t *table) find(hash, id uint32) (b *bucket, at int) {
	for b = t.bucket(hash); ; b = t.further.at(b.next) {
		for i := range b.ids {
			if b.ids[i] == id && b.tags[i] != 0 {
				return b, i
			}
		}
	}
}

// replace gives the place of a node to another one with the same hash.
func (t *table) replace(hash, id, by uint32) {
	b, i := t.find(hash, id)
	b.ids[i] = by
}

// remove takes a node out. The last one of its bucket takes its place.
func (t *table) remove(hash, id uint32) {
	b, i := t.find(hash, id)
	var before *bucket
	last := b
	for last.next != 0 {
		before, last = last, t.further.at(last.next)
	}
	if before == nil && last != t.bucket(hash) {
		before = t.bucket(hash)
		for t.further.at(before.next) != last {
			before = t.further.at(before.next)
		}
	}
	end := 0
	for end+1 < slots && last.tags[end+1] != 0 {
		end++
	}
	b.tags[i], b.ids[i] = last.tags[end], last.ids[end]
	last.tags[end], last.ids[end] = 0, 0
	if end == 0 && before != nil {
		t.further.release(before.next)
		before.next = 0
	}
}

// grow adds a bucket, if it is time to, and shares out the nodes of the one that
// it splits. hashOf is the hash of a node.
func (t *table) grow(hashOf func(id uint32) uint32) {
	if t.count <= t.size*fill {
		return
	}
	t.buckets.reach(t.size)
	old := t.bucket(t.size)
	t.size++
	t.move(old, hashOf)
}

// shrink takes the last bucket away, if it is time to, and gives its nodes to the
// one that it was split from.
func (t *table) shrink(hashOf func(id uint32) uint32) {
	if t.size == 1 || t.count >= t.size*fill/2 {
		return
	}
	t.size--
	t.move(t.buckets.at(t.size), hashOf)
	t.buckets.cut(t.size)
}

// move empties a bucket and adds its nodes again.
func (t *table) move(from *bucket, hashOf func(id uint32) uint32) {
	old := *from
	*from = bucket{}
	for {
		for i := range old.tags {
			if old.tags[i] != 0 {
				t.insert(hashOf(old.ids[i]), old.ids[i])
			}
		}
		if old.next == 0 {
			return
		}
		id := old.next
		old = *t.further.at(id)
		t.further.release(id)
	}
}
