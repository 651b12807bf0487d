package broker

import (
	"hash/maphash"
	"slices"
	"unsafe"
)

// routes are the routes that a shard remembers. Topics with the same receivers
// share one list of them: a thousand clients that listen to all devices are one
// list, not one for each device.
type routes struct {
	byName  map[string]*route
	lists   map[uint64]*receiverList // by a hash of what is in them
	bytes   int                      // of names, routes and lists
	passing route                    // of a topic that is not worth a place
	seen    seen
	found   []receiver // of the last topic that was looked up
}

// receiverList are the receivers of some topics. It does not change.
type receiverList struct {
	all    []receiver
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

const (
	routeSize    = int(unsafe.Sizeof(route{})) + 64 // and a place in a map
	receiverSize = int(unsafe.Sizeof(receiver{}))
	listSize     = int(unsafe.Sizeof(receiverList{})) + 32
)

func (c *routes) init() {
	c.byName, c.lists = map[string]*route{}, map[uint64]*receiverList{}
	c.seen = seen{marks: make([]uint16, cachedRoutes), seed: maphash.MakeSeed()}
}

// heavy tells that the routes take more memory than they may. One list can be as
// long as the subscriptions of the shard are many, which take more than that
// themselves; so the cache may have four such lists on top.
func (c *routes) heavy(subscriptions uint64) bool {
	return c.bytes > cachedBytes+4*receiverSize*int(subscriptions)
}

// remembered returns the cached route of a topic name, an outdated one if it is
// new, or the one for names that pass.
func (s *shard) remembered(name []byte) (r *route, cached bool) {
	c := &s.routes
	if r = c.byName[string(name)]; r != nil {
		return r, true
	}
	if !c.seen.again(name) {
		return &c.passing, false
	}
	if len(c.byName) >= cachedRoutes || c.heavy(s.count.Subscriptions) {
		c.clear()
	}
	r = &route{name: string(name)}
	c.byName[r.name] = r
	c.bytes += routeSize + len(r.name)
	s.fill(r, name)
	return r, true
}

// clear forgets all routes. Connections may still point to some, which then hold
// nothing but their names.
func (c *routes) clear() {
	for _, r := range c.byName {
		*r = route{gone: true}
	}
	clear(c.byName)
	clear(c.lists)
	c.bytes = 0
}

// set gives a route its receivers, which are borrowed.
func (c *routes) set(r *route, found []receiver) {
	if r == &c.passing {
		r.receivers = found
		return
	}
	old := r.list
	if r.list = c.list(found); r.list == nil {
		r.receivers = nil
	} else {
		r.receivers = r.list.all
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
func (c *routes) list(found []receiver) *receiverList {
	if len(found) == 0 {
		return nil
	}
	var hash uint64
	for i := range found {
		hash = hash*31 + maphash.Comparable(c.seen.seed, found[i].client)
	}
	l := c.lists[hash]
	if l != nil && slices.EqualFunc(l.all, found, receiver.equal) {
		l.routes++
		return l
	}
	l = &receiverList{all: slices.Clone(found), hash: hash, size: listSize + receiverSize*len(found), routes: 1}
	for i := range found {
		l.size += 4 * cap(found[i].ids)
		if own := found[i].own; own != nil {
			l.size += int(unsafe.Sizeof(*own)) + 4*cap(own.ids)
		}
	}
	c.bytes += l.size
	c.lists[hash] = l
	return l
}

func (rc receiver) equal(o receiver) bool {
	if rc.client != o.client || rc.mixed != o.mixed || (rc.own == nil) != (o.own == nil) {
		return false
	}
	return rc.grant.equal(&o.grant) && (rc.own == nil || rc.own.equal(o.own))
}

func (g *grant) equal(o *grant) bool {
	return g.qos == o.qos && g.rap == o.rap && slices.Equal(g.ids, o.ids)
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
