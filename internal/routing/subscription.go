package routing

import (
	"hash/maphash"
	"slices"

	"midge/internal/packet"
	"midge/internal/topic"
)

// Subscription is a topic filter of a session with its options (MQTT 5.0 section
// 3.8.3.1). Whoever changes the options of one that a Table has calls
// Table.Changed.
type Subscription[C Client] struct {
	Filter            string // with $share; see FilterOf
	Client            C
	Group             *Group[C] // of a shared one
	ref               topic.Ref // in Table.subscriptions if it is not shared
	ID                uint32    // Subscription Identifier, 0 for none
	QoS               packet.QoS
	NoLocal           bool
	RetainAsPublished bool
	Persistent        bool // its session is on disk
}

// Persisted reports whether messages for the subscription go to disk.
func (sub *Subscription[C]) Persisted() bool { return sub.Persistent && sub.QoS > 0 }

// Subscriptions are those of one session. Most have one, which needs no more
// memory; with many comes an index. The zero value has none.
type Subscriptions[C Client] struct {
	first   *Subscription[C] // nil: there are none
	further *further[C]      // nil: there is one at most
}

type further[C Client] struct {
	list   []*Subscription[C]
	index  *index // of list, once there are more than scanned
	weight int    // see Subscriptions.Weight
}

// scanned is the number of subscriptions up to which they are searched one by
// one.
const scanned = 16

// longFilter is the length in bytes of a filter above which it counts as several
// subscriptions, so that a client's take 40 MB at most and not 640.
const longFilter = 4 << 10

// WeightOf is how many subscriptions one with this filter counts as.
func WeightOf(filter string) int { return 1 + (len(filter)-1)/longFilter }

// Weight is what all of them count as.
func (l *Subscriptions[C]) Weight() int {
	switch {
	case l.first == nil:
		return 0
	case l.further == nil:
		return WeightOf(l.first.Filter)
	}
	return WeightOf(l.first.Filter) + l.further.weight
}

// All calls yield for each subscription, in no order.
func (l *Subscriptions[C]) All(yield func(*Subscription[C]) bool) {
	if l.first == nil || !yield(l.first) || l.further == nil {
		return
	}
	for _, sub := range l.further.list {
		if !yield(sub) {
			return
		}
	}
}

// Find returns the one of a filter, nil if there is none.
func (l *Subscriptions[C]) Find(filter string) *Subscription[C] {
	switch {
	case l.first == nil:
	case l.first.Filter == filter:
		return l.first
	case l.further != nil:
		if i := l.further.place(filter); i >= 0 {
			return l.further.list[i]
		}
	}
	return nil
}

// Add adds one of a filter that there is none of.
func (l *Subscriptions[C]) Add(sub *Subscription[C]) {
	if l.first == nil {
		l.first = sub
		return
	}
	if l.further == nil {
		l.further = &further[C]{}
	}
	l.further.add(sub)
}

// Remove removes the one of a filter.
func (l *Subscriptions[C]) Remove(filter string) {
	switch {
	case l.first == nil:
	case l.first.Filter != filter:
		if l.further != nil {
			l.further.remove(filter)
		}
	case l.further == nil:
		l.first = nil
	default:
		last := l.further.list[len(l.further.list)-1]
		l.further.remove(last.Filter)
		l.first = last
	}
	if l.further != nil && len(l.further.list) == 0 {
		l.further = nil
	}
}

func (l *further[C]) filter(place int) string { return l.list[place].Filter }

func (l *further[C]) place(filter string) int {
	if l.index != nil {
		return l.index.find(filter, l.filter)
	}
	return slices.IndexFunc(l.list, func(sub *Subscription[C]) bool { return sub.Filter == filter })
}

func (l *further[C]) add(sub *Subscription[C]) {
	l.list = append(l.list, sub)
	l.weight += WeightOf(sub.Filter)
	switch {
	case l.index != nil:
		l.index.add(l.filter)
	case len(l.list) > scanned:
		l.index = &index{seed: maphash.MakeSeed()}
		for range l.list {
			l.index.add(l.filter)
		}
	}
}

// remove puts the last subscription in the place of the one that goes.
func (l *further[C]) remove(filter string) {
	i := l.place(filter)
	if i < 0 {
		return
	}
	last := len(l.list) - 1
	if l.index != nil {
		l.index.remove(i, l.filter)
	}
	l.list[i], l.list[last] = l.list[last], nil
	l.weight -= WeightOf(filter)
	l.list = l.list[:last]
	if last <= scanned/2 {
		l.index = nil
	}
}
