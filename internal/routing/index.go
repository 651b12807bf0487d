package routing

import (
	"hash/maphash"
	"math/bits"
)

// index finds the places of filters in a list that has each once, in ten bytes
// for each, where a map has fifty. It is a linear hash table, as that of
// topic.Tree: it grows and shrinks by a bucket at a time, so that nobody with a
// million subscriptions waits until all are moved. What is called filter returns
// the filter at a place.
type index struct {
	seed  maphash.Seed
	first []uint32 // by bucket, as many as there are filters: the place of its first, and 1; 0: none
	next  []uint32 // by place, likewise: of the next one in the same bucket
}

// bucket returns where the places of a filter begin.
func (x *index) bucket(filter string) *uint32 {
	hash := uint32(maphash.String(x.seed, filter))
	mask := uint32(1)<<bits.Len32(uint32(len(x.first)-1)) - 1
	i := hash & mask
	if int(i) >= len(x.first) {
		i &= mask >> 1
	}
	return &x.first[i]
}

// find returns the place of a filter, -1 if it has none.
func (x *index) find(name string, filter func(place int) string) int {
	for p := *x.bucket(name); p != 0; p = x.next[p-1] {
		if filter(int(p-1)) == name {
			return int(p - 1)
		}
	}
	return -1
}

// add adds the filter at the place behind the last one.
func (x *index) add(filter func(place int) string) {
	place := len(x.next)
	x.next = append(x.next, 0)
	x.first = append(x.first, 0)
	if place > 0 { // the bucket is split from another one
		old := &x.first[splitFrom(place)]
		p := *old
		*old = 0
		for p != 0 {
			after := x.next[p-1]
			x.link(p, filter)
			p = after
		}
	}
	x.link(uint32(place+1), filter)
}

// remove takes out the filter at a place, which the last filter gets.
func (x *index) remove(place int, filter func(place int) string) {
	last := len(x.next) - 1
	*x.linkTo(place, filter) = x.next[place]
	if place != last {
		*x.linkTo(last, filter) = uint32(place + 1)
		x.next[place] = x.next[last]
	}
	rest := x.first[last]
	x.first, x.next = x.first[:last], x.next[:last]
	if rest == 0 {
		return
	}
	end := &x.first[splitFrom(last)]
	for *end != 0 {
		end = &x.next[*end-1]
	}
	*end = rest
}

// splitFrom is the bucket from which one is split that is not the first.
func splitFrom(bucket int) int { return bucket &^ (1 << (bits.Len(uint(bucket)) - 1)) }

// link puts a place, given with 1 added, into its bucket.
func (x *index) link(p uint32, filter func(place int) string) {
	b := x.bucket(filter(int(p - 1)))
	x.next[p-1], *b = *b, p
}

// linkTo is where a place is linked from.
func (x *index) linkTo(place int, filter func(place int) string) *uint32 {
	p := x.bucket(filter(place))
	for *p != uint32(place+1) {
		p = &x.next[*p-1]
	}
	return p
}
