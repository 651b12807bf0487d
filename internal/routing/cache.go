package routing

import (
	"hash/maphash"
	"slices"
	"unsafe"
)

// cache has the routes that a shard remembers. Topics with the same receivers
// share one list of them: a thousand clients that listen to all devices are one
// list, not one for each device.
type cache[C Client] struct {
	byName  map[string]*Route[C]
	lists   map[uint64]*receiverList[C] // by a hash of what is in them
	bytes   int                         // of names, routes and lists
	passing Route[C]                    // of a topic that is not worth a place
	seen    seen
	found   []Receiver[C] // of the last topic that was looked up
}

// receiverList has the receivers of some topics. It does not change.
type receiverList[C Client] struct {
	all    []Receiver[C]
	hash   uint64
	size   int // bytes
	routes int // that have it
}

// cachedRoutes is how many topic names a shard remembers. Beyond, it starts
// anew: a topic that is published to often comes back at once.
const cachedRoutes = 8192

// cachedBytes is how much memory the routes of a shard may take, beside what
// its subscriptions are worth: 8192 topics of 100 bytes with 20 receivers of
// their own take 11 MB.
const cachedBytes = 16 << 20

// pointer stands for a Client where only its size counts.
type pointer struct{ _ *int }

// Identity implements Client.
func (pointer) Identity() *Identity { return nil }

// Mount implements Client.
func (pointer) Mount() int { return 0 }

const (
	routeSize    = int(unsafe.Sizeof(Route[pointer]{})) + 64 // and a place in a map
	receiverSize = int(unsafe.Sizeof(Receiver[pointer]{}))
	listSize     = int(unsafe.Sizeof(receiverList[pointer]{})) + 32
)

func (c *cache[C]) init() {
	c.byName, c.lists = map[string]*Route[C]{}, map[uint64]*receiverList[C]{}
	c.seen = seen{marks: make([]uint16, cachedRoutes), seed: maphash.MakeSeed()}
}

// heavy reports whether the routes take more memory than they may. One list can be as
// long as the subscriptions of the shard are many, which take more than that
// themselves; so the cache may have four such lists on top.
func (c *cache[C]) heavy(subscriptions int) bool {
	return c.bytes > cachedBytes+4*receiverSize*subscriptions
}

// clear forgets all routes. Connections may still point to some, which then hold
// nothing but their names.
func (c *cache[C]) clear() {
	for _, r := range c.byName {
		*r = Route[C]{gone: true}
	}
	clear(c.byName)
	clear(c.lists)
	c.bytes = 0
}

// set gives a route its receivers, which are borrowed.
func (c *cache[C]) set(r *Route[C], found []Receiver[C]) {
	if r == &c.passing {
		r.Receivers = found
		return
	}
	old := r.list
	if r.list = c.list(found); r.list == nil {
		r.Receivers = nil
	} else {
		r.Receivers = r.list.all
	}
	if old == nil {
		return
	}
	if old.routes--; old.routes == 0 {
		c.bytes -= old.size
		if c.lists[old.hash] == old {
			delete(c.lists, old.hash)
		}
	}
}

// list returns the list of some receivers, for one more route.
func (c *cache[C]) list(found []Receiver[C]) *receiverList[C] {
	if len(found) == 0 {
		return nil
	}
	var hash uint64
	for i := range found {
		hash = hash*31 + maphash.Comparable(c.seen.seed, found[i].Client)
	}
	l := c.lists[hash]
	if l != nil && slices.EqualFunc(l.all, found, Receiver[C].equal) {
		l.routes++
		return l
	}
	l = &receiverList[C]{all: slices.Clone(found), hash: hash, size: listSize + receiverSize*len(found), routes: 1}
	for i := range found {
		l.size += 4 * cap(found[i].IDs)
		if own := found[i].own; own != nil {
			l.size += int(unsafe.Sizeof(*own)) + 4*cap(own.IDs)
		}
	}
	c.bytes += l.size
	c.lists[hash] = l
	return l
}

func (rc Receiver[C]) equal(o Receiver[C]) bool {
	if rc.Client != o.Client || rc.mixed != o.mixed || (rc.own == nil) != (o.own == nil) {
		return false
	}
	return rc.Grant.equal(&o.Grant) && (rc.own == nil || rc.own.equal(o.own))
}

func (g *Grant) equal(o *Grant) bool {
	return g.QoS == o.QoS && g.RetainAsPublished == o.RetainAsPublished && slices.Equal(g.IDs, o.IDs)
}

// seen remembers which names came lately, by a part of their hash.
type seen struct {
	marks []uint16 // by another part of the hash
	seed  maphash.Seed
	n     uint64
}

// again reports whether name came before, as far as seen remembers. One name
// in sixteen counts anyway, so that more names than seen has room for don't keep
// each other out.
func (s *seen) again(name []byte) bool {
	h := maphash.Bytes(s.seed, name)
	at, mark := &s.marks[h%cachedRoutes], uint16(h>>48)|1
	s.n++
	if *at == mark || s.n%16 == 0 {
		return true
	}
	*at = mark
	return false
}
