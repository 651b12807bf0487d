package broker

import (
	"slices"

	"midge/internal/packet"
	"midge/internal/topic"
)

// subscription is a topic filter of a session with its options.
type subscription struct {
	filter  string // as the client wrote it, with $share
	client  *client
	group   *group    // of a shared one
	ref     topic.Ref // in shard.subscriptions if it is not shared
	id      uint32    // subscription identifier, 0 for none
	qos     packet.QoS
	noLocal bool
	rap     bool // Retain As Published
}

// subscriptions are those of one session. Most have one, which needs no more
// memory; with many comes an index.
type subscriptions struct {
	first   *subscription // nil: there are none
	further *further      // nil: there is one at most
}

type further struct {
	list   []*subscription
	index  map[string]int // filter -> place in list, once there are more than scanned
	weight int            // see subscriptions.weight
}

// scanned is the number of subscriptions up to which they are searched one by
// one.
const scanned = 16

// longFilter is the length of a filter above which it counts as several
// subscriptions, so that a client's take 40 MB at most and not 640.
const longFilter = 4 << 10

// weightOf is how many subscriptions one with this filter counts as.
func weightOf(filter string) int { return 1 + (len(filter)-1)/longFilter }

// weight is what all of them count as.
func (l *subscriptions) weight() int {
	switch {
	case l.first == nil:
		return 0
	case l.further == nil:
		return weightOf(l.first.filter)
	}
	return weightOf(l.first.filter) + l.further.weight
}

// all calls yield for each subscription, in no order.
func (l *subscriptions) all(yield func(*subscription) bool) {
	if l.first == nil || !yield(l.first) || l.further == nil {
		return
	}
	for _, sub := range l.further.list {
		if !yield(sub) {
			return
		}
	}
}

func (l *subscriptions) find(filter string) *subscription {
	switch {
	case l.first == nil:
	case l.first.filter == filter:
		return l.first
	case l.further != nil:
		if i := l.further.place(filter); i >= 0 {
			return l.further.list[i]
		}
	}
	return nil
}

func (l *subscriptions) add(sub *subscription) {
	if l.first == nil {
		l.first = sub
		return
	}
	if l.further == nil {
		l.further = &further{}
	}
	l.further.add(sub)
}

func (l *subscriptions) remove(filter string) {
	switch {
	case l.first == nil:
	case l.first.filter != filter:
		if l.further != nil {
			l.further.remove(filter)
		}
	case l.further == nil:
		l.first = nil
	default:
		last := l.further.list[len(l.further.list)-1]
		l.further.remove(last.filter)
		l.first = last
	}
	if l.further != nil && len(l.further.list) == 0 {
		l.further = nil
	}
}

func (l *further) place(filter string) int {
	if l.index != nil {
		if i, ok := l.index[filter]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(l.list, func(sub *subscription) bool { return sub.filter == filter })
}

func (l *further) add(sub *subscription) {
	l.list = append(l.list, sub)
	l.weight += weightOf(sub.filter)
	switch {
	case l.index != nil:
		l.index[sub.filter] = len(l.list) - 1
	case len(l.list) > scanned:
		l.index = make(map[string]int, 2*scanned)
		for i, sub := range l.list {
			l.index[sub.filter] = i
		}
	}
}

// remove puts the last subscription in the place of the one that goes.
func (l *further) remove(filter string) {
	i := l.place(filter)
	if i < 0 {
		return
	}
	last := len(l.list) - 1
	if i != last {
		l.list[i] = l.list[last]
		if l.index != nil {
			l.index[l.list[i].filter] = i
		}
	}
	l.list[last] = nil
	l.weight -= weightOf(filter)
	l.list = l.list[:last]
	delete(l.index, filter)
}
