package broker

import (
	"strings"
	"sync"
	"sync/atomic"

	"midge/internal/topic"
)

// interest knows which shards have subscriptions of which filters, and the
// shared subscriptions. All shards use it.
//
// A shard registers its interest before it answers SUBSCRIBE and before it
// reads retained messages. A publisher stores a retained message before it asks
// whether its routes are still right. Both the epoch and the retained tree are
// totally ordered, so one of them sees the other: a subscriber can't miss a
// message altogether, and does not see an old retained message after a newer
// live one.
type interest struct {
	mu     sync.RWMutex
	all    interested
	stored interested         // of sessions that are on disk, above QoS 0
	groups topic.Tree[*group] // by inner filter
	named  map[groupName]*group
	log    changes
	epoch  atomic.Uint64 // log.epoch, to be read without the lock
}

type groupName struct{ name, filter string }

// interested are the shards that have subscriptions of some kind.
type interested struct {
	exact map[string]uint64  // filter without wildcards -> set of shards; most are such, and a map is smallest
	tree  topic.Tree[uint64] // one value for each other filter: the set of shards
}

func (n *interest) init() {
	n.all.exact = map[string]uint64{}
	n.stored.exact = map[string]uint64{}
	n.named = map[groupName]*group{}
}

// add tells that a shard has got its first subscription of a filter.
func (n *interest) add(filter string, shard int) {
	n.update(&n.all, filter, func(m uint64) uint64 { return m | 1<<shard })
}

// store tells that a shard has got its first subscription of a filter whose
// messages are kept on disk.
func (n *interest) store(filter string, shard int) {
	n.update(&n.stored, filter, func(m uint64) uint64 { return m | 1<<shard })
}

// unstore tells that a shard has lost its last one.
func (n *interest) unstore(filter string, shard int) {
	n.update(&n.stored, filter, func(m uint64) uint64 { return m &^ (1 << shard) })
}

// remove tells that a shard has lost its last one.
func (n *interest) remove(filter string, shard int) {
	n.update(&n.all, filter, func(m uint64) uint64 { return m &^ (1 << shard) })
}

func (n *interest) update(i *interested, filter string, change func(uint64) uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i.update(filter, change)
	n.changed(filter)
}

func (i *interested) update(filter string, change func(uint64) uint64) {
	if !strings.ContainsAny(filter, "+#") {
		if set := change(i.exact[filter]); set != 0 {
			i.exact[filter] = set
		} else {
			delete(i.exact, filter)
		}
		return
	}
	var set uint64
	i.tree.Find(filter, func(ref topic.Ref, v uint64) bool {
		set = v
		i.tree.Remove(ref)
		return false
	})
	if set = change(set); set != 0 {
		i.tree.Add(filter, set)
	}
}

func (i *interested) in(name []byte) (set uint64) {
	set = i.exact[string(name)]
	i.tree.Match(name, func(m uint64) { set |= m })
	return set
}

// changed makes cached routes that a filter matches invalid. The caller holds mu.
func (n *interest) changed(filter string) {
	n.log.add(filter)
	n.epoch.Store(n.log.epoch)
}

// lookup finds the shards and groups of a topic name, as of an epoch. Stored
// are those among the shards with receivers on disk.
func (n *interest) lookup(name []byte, groups []*group) (set, stored uint64, all []*group, epoch uint64) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if set = n.all.in(name); set != 0 {
		stored = n.stored.in(name)
	}
	n.groups.Match(name, func(g *group) { groups = append(groups, g) })
	return set, stored, groups, n.log.epoch
}

// unchangedSince tells whether what lookup found at an epoch still holds, and
// the epoch now.
func (n *interest) unchangedSince(epoch uint64, name string) (now uint64, ok bool) {
	if now = n.epoch.Load(); now == epoch {
		return now, true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.log.epoch, n.log.unchangedSince(epoch, name)
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

// unchangedSince tells whether no filter that matches name has changed since.
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
