package routing

import (
	"strings"
	"sync"
	"sync/atomic"

	"midge/internal/topic"
)

// Interest knows which shards have subscriptions of which filters, and the
// shared subscriptions. All shards use it.
//
// A shard registers its interest before it answers SUBSCRIBE and before it
// reads retained messages. A publisher stores a retained message before it asks
// whether its routes are still right. Both the epoch and the retained tree are
// totally ordered, so one of them sees the other: a subscriber can't miss a
// message altogether, and does not see an old retained message after a newer
// live one.
type Interest[C Client] struct {
	mu        sync.RWMutex
	all       shardSets
	persisted shardSets             // of subscriptions whose messages are persisted; see Subscription.Persisted
	groups    topic.Tree[*Group[C]] // by inner filter
	named     map[GroupName]*Group[C]
	changes   changes
	epoch     atomic.Uint64 // changes.epoch, to be read without the lock
}

// shardSets are the shards that have subscriptions of some kind, by filter. A set
// of shards has a bit for each.
type shardSets struct {
	exact map[string]uint64  // of filters without wildcards; most are such, and a map is smallest
	tree  topic.Tree[uint64] // one value for each other filter
}

// NewInterest returns one without subscriptions.
func NewInterest[C Client]() *Interest[C] {
	return &Interest[C]{
		all:       shardSets{exact: map[string]uint64{}},
		persisted: shardSets{exact: map[string]uint64{}},
		named:     map[GroupName]*Group[C]{},
	}
}

// Group returns the group of a name, nil if it has no members.
func (n *Interest[C]) Group(name GroupName) *Group[C] {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.named[name]
}

// add puts a shard into the set of a filter: its first subscription of it has
// come. set is one of n's.
func (n *Interest[C]) add(set *shardSets, filter string, shard int) {
	n.update(set, filter, func(m uint64) uint64 { return m | 1<<shard })
}

// remove takes a shard out of the set of a filter: its last one has gone.
func (n *Interest[C]) remove(set *shardSets, filter string, shard int) {
	n.update(set, filter, func(m uint64) uint64 { return m &^ (1 << shard) })
}

func (n *Interest[C]) update(set *shardSets, filter string, change func(uint64) uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	set.update(filter, change)
	n.changed(filter)
}

func (s *shardSets) update(filter string, change func(uint64) uint64) {
	if !strings.ContainsAny(filter, "+#") {
		if set := change(s.exact[filter]); set != 0 {
			s.exact[filter] = set
		} else {
			delete(s.exact, filter)
		}
		return
	}
	var set uint64
	s.tree.Find(filter, func(ref topic.Ref, v uint64) bool {
		set = v
		s.tree.Remove(ref)
		return false
	})
	if set = change(set); set != 0 {
		s.tree.Add(filter, set)
	}
}

// match returns the shards with filters that match a name.
func (s *shardSets) match(name []byte) (set uint64) {
	set = s.exact[string(name)]
	s.tree.Match(name, func(m uint64) { set |= m })
	return set
}

// changed makes cached routes that a filter matches invalid. The caller holds mu.
func (n *Interest[C]) changed(filter string) {
	n.changes.add(filter)
	n.epoch.Store(n.changes.epoch)
}

// lookup finds the shards and groups of a topic name, as of an epoch. persisted
// are the shards with subscriptions whose messages are persisted.
func (n *Interest[C]) lookup(name []byte, groups []*Group[C]) (shards, persisted uint64, _ []*Group[C], epoch uint64) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if shards = n.all.match(name); shards != 0 {
		persisted = n.persisted.match(name)
	}
	n.groups.Match(name, func(g *Group[C]) {
		if mount := g.Name.Mount; mount == 0 || topic.SeenBelow(mount, g.Name.Filter, name) {
			groups = append(groups, g)
		}
	})
	return shards, persisted, groups, n.changes.epoch
}

// unchangedSince reports whether what lookup found at an epoch still holds, and
// returns the epoch now.
func (n *Interest[C]) unchangedSince(epoch uint64, name string) (now uint64, ok bool) {
	if now = n.epoch.Load(); now == epoch {
		return now, true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.changes.epoch, n.changes.unchangedSince(epoch, name)
}

// changes remembers the filters that changed last, so that a client which
// subscribes and unsubscribes all day does not make all routes invalid.
type changes struct {
	epoch uint64
	last  [32]string // by epoch
}

func (c *changes) add(filter string) {
	c.epoch++
	c.last[c.epoch%uint64(len(c.last))] = filter
}

// unchangedSince reports whether no filter that matches name has changed since.
func (c *changes) unchangedSince(epoch uint64, name string) bool {
	if c.epoch-epoch > uint64(len(c.last)) {
		return false
	}
	for e := epoch + 1; e <= c.epoch; e++ {
		if topic.Match(c.last[e%uint64(len(c.last))], name) {
			return false
		}
	}
	return true
}
