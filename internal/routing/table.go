package routing

import (
	"slices"

	"midge/internal/topic"
)

// Table has the subscriptions of one shard, without shared ones, and the routes
// that it remembers. It belongs to the thread of the shard.
type Table[C Client] struct {
	interest      *Interest[C]
	shard         int
	restricted    bool // clients may have Permissions
	subscriptions topic.Tree[*Subscription[C]]
	count         int              // subscriptions
	mounted       int              // those of clients with a mount point
	persisted     map[string]int32 // by filter: subscriptions whose messages are persisted
	changes       changes
	cache         cache[C]
	places        map[C]int // memory of place
}

// NewTable returns the Table of a shard. restricted: clients may have an
// Identity.
func NewTable[C Client](n *Interest[C], shard int, restricted bool) *Table[C] {
	t := &Table[C]{
		interest: n, shard: shard, restricted: restricted,
		persisted: map[string]int32{}, places: map[C]int{},
	}
	t.cache.init()
	return t
}

// Restrict says that clients may have an Identity from now on.
func (t *Table[C]) Restrict() { t.restricted = true }

// Add makes a new subscription known, to all shards.
func (t *Table[C]) Add(sub *Subscription[C]) {
	t.count++
	if sub.Client.Mount() > 0 {
		t.mounted++
	}
	first := !t.has(sub.Filter)
	sub.ref = t.subscriptions.Add(sub.Filter, sub)
	t.changes.add(sub.Filter)
	if first {
		t.interest.add(&t.interest.all, sub.Filter, t.shard)
	}
	if sub.Persisted() {
		t.persist(sub.Filter)
	}
}

// Changed makes other options of a subscription known. before reports whether its
// messages were persisted until now.
func (t *Table[C]) Changed(sub *Subscription[C], before bool) {
	t.changes.add(sub.Filter)
	switch now := sub.Persisted(); {
	case now && !before:
		t.persist(sub.Filter)
	case before && !now:
		t.unpersist(sub.Filter)
	}
}

// Remove makes a subscription unknown.
func (t *Table[C]) Remove(sub *Subscription[C]) {
	t.count--
	if sub.Client.Mount() > 0 {
		t.mounted--
	}
	t.subscriptions.Remove(sub.ref)
	t.changes.add(sub.Filter)
	if sub.Persisted() {
		t.unpersist(sub.Filter)
	}
	if !t.has(sub.Filter) {
		t.interest.remove(&t.interest.all, sub.Filter, t.shard)
	}
}

// Invalidate makes the routes that a filter matches find their receivers anew.
func (t *Table[C]) Invalidate(filter string) { t.changes.add(filter) }

// persist counts a subscription whose messages are persisted.
func (t *Table[C]) persist(filter string) {
	if t.persisted[filter]++; t.persisted[filter] == 1 {
		t.interest.add(&t.interest.persisted, filter, t.shard)
	}
}

// unpersist counts the end of one.
func (t *Table[C]) unpersist(filter string) {
	if t.persisted[filter]--; t.persisted[filter] == 0 {
		delete(t.persisted, filter)
		t.interest.remove(&t.interest.persisted, filter, t.shard)
	}
}

// has reports whether there is a subscription of a filter.
func (t *Table[C]) has(filter string) (found bool) {
	t.subscriptions.Find(filter, func(topic.Ref, *Subscription[C]) bool {
		found = true
		return false
	})
	return found
}

// Route finds the route of a topic name, from the cache if it is there and
// still right. A name that was not seen lately gets a route for this one
// message, which lasts until the next call: fleets publish to topics by the
// million, once each. cached reports whether the route stays.
func (t *Table[C]) Route(name []byte) (r *Route[C], cached bool) {
	if r, cached = t.remembered(name); cached {
		t.Renew(r)
	} else {
		t.fill(r, name)
	}
	return r, cached
}

// Cached is the route of a topic name in the cache, right or not, nil if there
// is none.
func (t *Table[C]) Cached(name []byte) *Route[C] { return t.cache.byName[string(name)] }

// Receivers finds the receivers on this shard of a topic name that another shard
// has routed here already. They are borrowed until the next call.
func (t *Table[C]) Receivers(name []byte) []Receiver[C] {
	r, cached := t.remembered(name)
	if cached {
		t.Renew(r)
	} else {
		t.findReceivers(r, name)
	}
	return r.Receivers
}

// Clear forgets all routes, with the answers of Permissions.
func (t *Table[C]) Clear() { t.cache.clear() }

// Trim forgets all routes if they take more memory than they may. It is called
// once in a turn, for what a turn can add is bounded.
func (t *Table[C]) Trim() {
	if t.cache.heavy(t.count) {
		t.cache.clear()
	}
}

// fill finds out everything about a topic name. The shard has receivers only
// if it is among the interested ones.
func (t *Table[C]) fill(r *Route[C], name []byte) {
	clear(r.Groups)
	before := cap(r.Groups)
	r.Shards, r.Persisted, r.Groups, r.global = t.interest.lookup(name, r.Groups[:0])
	if r.name != "" {
		t.cache.bytes += 8 * (cap(r.Groups) - before)
	}
	if mine := uint64(1) << t.shard; r.Shards&mine != 0 {
		r.Shards &^= mine
		t.findReceivers(r, name)
		return
	}
	t.cache.set(r, nil)
	r.local = t.changes.epoch
}

// Renew makes r right again if subscriptions have changed.
func (t *Table[C]) Renew(r *Route[C]) {
	epoch, ok := t.interest.unchangedSince(r.global, r.name)
	if !ok {
		t.fill(r, []byte(r.name))
		return
	}
	r.global = epoch
	if r.local == t.changes.epoch {
		return
	}
	if t.changes.unchangedSince(r.local, r.name) {
		r.local = t.changes.epoch
	} else {
		t.findReceivers(r, []byte(r.name))
	}
}

// match calls yield for each subscription that a name matches, as its client sees both.
func (t *Table[C]) match(name []byte, yield func(*Subscription[C])) {
	if t.mounted == 0 {
		t.subscriptions.Match(name, yield)
		return
	}
	t.subscriptions.Match(name, func(sub *Subscription[C]) {
		if mount := sub.Client.Mount(); mount == 0 || topic.SeenBelow(mount, sub.Filter, name) {
			yield(sub)
		}
	})
}

// findReceivers fills in the receivers of this shard.
func (t *Table[C]) findReceivers(r *Route[C], name []byte) {
	clear(t.cache.found)
	all := t.cache.found[:0]
	t.match(name, func(sub *Subscription[C]) {
		at := t.place(all, sub.Client)
		if at < 0 {
			at = len(all)
			all = append(all, Receiver[C]{Client: sub.Client})
		}
		rc := &all[at]
		merge(&rc.Grant, sub)
		rc.mixed = rc.mixed || sub.NoLocal
	})
	if len(t.places) > 0 {
		t.places = map[C]int{}
	}
	if t.restricted {
		all = slices.DeleteFunc(all, func(rc Receiver[C]) bool { return !rc.Client.Identity().MayReceive(name) })
	}
	for i := range all {
		if all[i].mixed {
			all[i].own = t.ownGrant(all[i].Client, name)
		}
	}
	t.cache.found = all
	t.cache.set(r, all)
	r.local = t.changes.epoch
}

// fewReceivers are searched one by one; beyond, an index helps.
const fewReceivers = 16

// place finds a client among the receivers, -1 if it is not there.
func (t *Table[C]) place(all []Receiver[C], client C) int {
	if len(all) <= fewReceivers {
		return slices.IndexFunc(all, func(r Receiver[C]) bool { return r.Client == client })
	}
	if len(t.places) == 0 {
		for i := range all {
			t.places[all[i].Client] = i
		}
	}
	if at, ok := t.places[client]; ok {
		return at
	}
	t.places[client] = len(all) // where the caller puts it
	return -1
}

// ownGrant is what a client's subscriptions without No Local add up to.
func (t *Table[C]) ownGrant(client C, name []byte) (own *Grant) {
	t.match(name, func(sub *Subscription[C]) {
		if sub.Client != client || sub.NoLocal {
			return
		}
		if own == nil {
			own = &Grant{}
		}
		merge(own, sub)
	})
	return own
}

// remembered returns the cached route of a topic name, an outdated one if it is
// new, or the one for names that pass.
func (t *Table[C]) remembered(name []byte) (r *Route[C], cached bool) {
	c := &t.cache
	if r = c.byName[string(name)]; r != nil {
		return r, true
	}
	if !c.seen.again(name) {
		return &c.passing, false
	}
	if len(c.byName) >= cachedRoutes || c.heavy(t.count) {
		c.clear()
	}
	r = &Route[C]{name: string(name)}
	c.byName[r.name] = r
	c.bytes += routeSize + len(r.name)
	t.fill(r, name)
	return r, true
}
