package bench

import (
	"fmt"

	"midge/internal/packet"
)

// layout says who publishes what, who gets it, and which worker has whom. It
// is computed by each worker alike, from scenario and plan.
type layout struct {
	*plan
	s     *Scenario
	flows int
	// perTopic is the number of flows that share a topic, at most.
	perTopic int
	// own: each flow has one subscriber at most, which subscribes
	// to its own topics.
	own bool
}

func newLayout(p *plan) layout {
	s := &p.Scenario
	l := layout{plan: p, s: s, flows: s.flows()}
	l.perTopic = (l.flows + s.Topics - 1) / s.Topics
	l.own = (s.Filter == FilterTopic || s.Filter == FilterPlus) && s.Topics >= s.Subscribers
	return l
}

func (l *layout) publisherOf(flow int) int { return flow % l.s.Publishers }
func (l *layout) topicOf(flow int) int     { return flow % l.s.Topics }

// mine reports whether this worker has the nth client of a kind.
func (l *layout) mine(n int) bool { return n%l.Procs == l.Proc }

// hasSubscriber is mine for subscribers. Those of a shared subscription are
// all in the first worker, which can then tell whether a message came twice.
func (l *layout) hasSubscriber(n int) bool {
	if l.s.shared() {
		return l.Proc == 0
	}
	return l.mine(n)
}

// returns reports whether a subscriber that left comes back.
func (l *layout) returns(subscriber int) bool { return !l.s.Offline || subscriber < l.s.Returning }

// local is the index of a subscriber among those of this worker.
func (l *layout) local(subscriber int) int {
	if l.s.shared() {
		return subscriber
	}
	return subscriber / l.Procs
}

// wants reports whether a subscriber is to get a flow, or may get it if the
// subscription is shared.
func (l *layout) wants(subscriber, flow int) bool {
	topic := l.topicOf(flow)
	switch {
	case l.s.Filter != FilterTopic && l.s.Filter != FilterPlus:
		return true
	case l.own:
		return topic%l.s.Subscribers == subscriber
	}
	return subscriber%l.s.Topics == topic
}

// wanted calls f for each flow that a subscriber is to get.
func (l *layout) wanted(subscriber int, f func(flow int)) {
	first, step := 0, 1
	switch {
	case l.s.Filter != FilterTopic && l.s.Filter != FilterPlus:
	case l.own && l.flows == l.s.Topics:
		first, step = subscriber, l.s.Subscribers
	case !l.own:
		first, step = subscriber%l.s.Topics, l.s.Topics
	}
	for flow := first; flow < l.flows; flow += step {
		if l.wants(subscriber, flow) {
			f(flow)
		}
	}
}

// trackers is how many trackers the worker needs, and track which one is for
// a flow at a subscriber.
func (l *layout) trackers() int {
	switch {
	case l.s.Subscribers == 0:
		return 0
	case l.own:
		return l.flows
	}
	return (l.local(l.s.Subscribers-1) + 1) * l.flowsEach()
}

func (l *layout) track(subscriber, flow int) int {
	switch {
	case l.own:
		return flow
	case l.s.Filter == FilterTopic || l.s.Filter == FilterPlus:
		return l.local(subscriber)*l.perTopic + flow/l.s.Topics
	}
	return l.local(subscriber)*l.flows + flow
}

// flowsEach is the number of flows that a subscriber gets, at most.
func (l *layout) flowsEach() int {
	if l.s.Filter == FilterTopic || l.s.Filter == FilterPlus {
		return l.perTopic
	}
	return l.flows
}

func (l *layout) topic(n int) string { return fmt.Sprintf("bench/%s/t/%d/v", l.Run, n) }

// maxFilters is how many filters a SUBSCRIBE carries.
const maxFilters = 100

// filters are the topic filters of a subscriber.
func (l *layout) filters(subscriber int) (all []string) {
	switch l.s.Filter {
	case FilterWildcard:
		return []string{fmt.Sprintf("bench/%s/t/#", l.Run)}
	case FilterShared:
		return []string{fmt.Sprintf("$share/%s/bench/%s/t/#", l.Run, l.Run)}
	case FilterAll:
		for t := range l.s.Topics {
			all = append(all, l.topic(t))
		}
		return all
	}
	first, step := subscriber%l.s.Topics, l.s.Topics
	if l.s.Topics >= l.s.Subscribers {
		first, step = subscriber, l.s.Subscribers
	}
	for t := first; t < l.s.Topics; t += step {
		if l.s.Filter == FilterPlus {
			all = append(all, fmt.Sprintf("bench/%s/+/%d/v", l.Run, t))
		} else {
			all = append(all, l.topic(t))
		}
	}
	return all
}

// idleFilters are the filters of one of the other clients. They match no
// topic that anybody publishes on.
func (l *layout) idleFilters(client int) (all []string) {
	for n := client; n < l.s.Filters; n += l.s.Clients {
		if n%2 == 0 {
			all = append(all, fmt.Sprintf("bench/%s/f/%d/+/x", l.Run, n))
		} else {
			all = append(all, fmt.Sprintf("bench/%s/f/%d/#", l.Run, n))
		}
	}
	return all
}

func (l *layout) willTopic() string { return fmt.Sprintf("bench/%s/will/%d", l.Run, l.Proc) }

func (l *layout) churnTopic(n int) string {
	return fmt.Sprintf("bench/%s/churn/%d/%d", l.Run, l.Proc, n)
}

// clientID names a client by its kind and number.
func (l *layout) clientID(kind role, n int) string {
	return fmt.Sprintf("bench-%s-%c%d-%d", l.Run, "spiwclr"[kind], l.Proc, n)
}

// delivered is the QoS at which a message arrives.
func (l *layout) delivered() packet.QoS { return packet.QoS(min(l.s.QoS, l.s.SubQoS)) }
