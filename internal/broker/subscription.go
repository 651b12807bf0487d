package broker

import (
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

// subscriptions are those of one session. Most have a few, which a list serves
// best; an index comes with more.
type subscriptions struct {
	list  []*subscription
	index map[string]int // filter -> place in list, once there are more than scanned
}

// scanned is the number of subscriptions up to which they are searched one by
// one.
const scanned = 16

func (l *subscriptions) all() []*subscription { return l.list }

func (l *subscriptions) find(filter string) *subscription {
	if i := l.place(filter); i >= 0 {
		return l.list[i]
	}
	return nil
}

func (l *subscriptions) place(filter string) int {
	if l.index != nil {
		if i, ok := l.index[filter]; ok {
			return i
		}
		return -1
	}
	for i, sub := range l.list {
		if sub.filter == filter {
			return i
		}
	}
	return -1
}

func (l *subscriptions) add(sub *subscription) {
	l.list = append(l.list, sub)
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

func (l *subscriptions) remove(filter string) {
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
	l.list = l.list[:last]
	delete(l.index, filter)
}
