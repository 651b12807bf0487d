//go:build integration && unix

package crash

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"midge/internal/packet"
)

// retainer sets and deletes retained messages. It knows which values a topic may
// have: the last one acknowledged and every later one.
type retainer struct {
	publisher
	mu     sync.Mutex
	topics map[string]*retained
}

// retained is what was published on a topic, by number; number 0 stands for the
// time before.
type retained struct {
	acked   int
	deleted []bool // published with an empty payload
}

func newRetainer(p publisher) *retainer {
	r := &retainer{publisher: p, topics: map[string]*retained{}}
	for _, f := range p.flows {
		r.topics[f.topic] = &retained{deleted: []bool{true}}
	}
	return r
}

func (r *retainer) acknowledged(o *outgoing, code packet.ReasonCode) {
	r.publisher.acknowledged(o, code)
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[o.flow.topic]
	t.acked = max(t.acked, o.seq)
}

func (r *retainer) load(round int, stop <-chan struct{}) {
	for !pause(stop, r.rng, 10*time.Millisecond) {
		f := r.flows[r.rng.IntN(len(r.flows))]
		seq := r.ledger.next(f)
		o := &outgoing{flow: f, seq: seq, payload: f.payload(seq, round), retain: true}
		if r.rng.IntN(4) == 0 {
			o.payload = nil
		}
		sent := func() {
			r.ledger.send(f, seq)
			r.mu.Lock()
			t := r.topics[f.topic]
			t.deleted = append(t.deleted, o.payload == nil)
			r.mu.Unlock()
		}
		if !r.publish(o, sent) {
			return
		}
	}
}

// auditor is a new client that gets all retained messages and compares them.
type auditor struct {
	*client
	retainer *retainer

	mu  sync.Mutex
	due map[string]bool // topics that must have a retained message
}

func (a *auditor) acknowledged(*outgoing, packet.ReasonCode) {}

func (a *auditor) received(m *packet.Publish) {
	f, seq, err := parse(m.Payload)
	if err != nil || f.topic != string(m.Topic) || !m.Retain {
		a.verdict.violation(corrupt, "retained on %s: %.60q, RETAIN %v: %v", m.Topic, m.Payload, m.Retain, err)
		return
	}
	a.retainer.mu.Lock()
	t := a.retainer.topics[f.topic]
	if t == nil || seq >= len(t.deleted) || t.deleted[seq] {
		a.verdict.violation(corrupt, "retained on %s: %d, which was not published", m.Topic, seq)
	} else if seq < t.acked {
		a.verdict.violation(lost, "retained on %s: %d, but %d was acknowledged (deletion: %v)", m.Topic, seq, t.acked, t.deleted[t.acked])
	}
	a.retainer.mu.Unlock()
	a.mu.Lock()
	delete(a.due, f.topic)
	a.mu.Unlock()
	a.changed.Broadcast()
}

// audit compares the retained messages of the broker with what r was told. r
// must not publish meanwhile.
func (r *retainer) audit(addr string) error {
	a := &auditor{retainer: r, due: map[string]bool{}}
	a.client = newClient(r.verdict, "auditor", packet.V311, false, a)
	r.mu.Lock()
	for topic, t := range r.topics {
		due := true
		for _, deleted := range t.deleted[t.acked:] {
			due = due && !deleted
		}
		if due {
			a.due[topic] = true
		}
	}
	r.mu.Unlock()
	if err := a.dial(addr); err != nil {
		return err
	}
	defer a.hangUp()
	if _, ok := a.subscribe("retained/#", 1); !ok {
		return fmt.Errorf("auditor: no SUBACK")
	}
	missing := func() []string {
		a.mu.Lock()
		defer a.mu.Unlock()
		var topics []string
		for topic := range a.due {
			topics = append(topics, topic)
		}
		return topics
	}
	if !a.await(func() bool { return len(missing()) == 0 }) {
		r.verdict.violation(lost, "no retained message on %q", missing())
	}
	a.subscribe("nothing", 0) // a round trip more for what must not come
	return nil
}

// switcher subscribes and unsubscribes; what was acknowledged must hold.
type switcher struct {
	*client
	rng *rand.Rand

	mu    sync.Mutex
	state map[string]subscription
	round int
	got   map[string]bool // topics of the probes of this round
}

type subscription int

const (
	off subscription = iota
	on
	unknown // neither acknowledged
)

const switches = 24 // topic filters of the switcher

func newSwitcher(v *verdict, rng *rand.Rand) *switcher {
	s := &switcher{rng: rng, state: map[string]subscription{}, got: map[string]bool{}}
	for i := range switches {
		s.state[fmt.Sprint("switch/", i)] = off
	}
	s.client = newClient(v, "switcher", packet.V5, true, s)
	return s
}

func (*switcher) acknowledged(*outgoing, packet.ReasonCode) {}

// received takes probes; those of earlier rounds may come again.
func (s *switcher) received(m *packet.Publish) {
	s.mu.Lock()
	if string(m.Payload) == fmt.Sprint(s.round) {
		s.got[string(m.Topic)] = true
		if s.state[string(m.Topic)] == off {
			s.verdict.violation(lost, "switcher: UNSUBSCRIBE of %s was acknowledged and does not hold", m.Topic)
		}
	}
	s.mu.Unlock()
	s.changed.Broadcast()
}

func (s *switcher) load(stop <-chan struct{}) {
	for !pause(stop, s.rng, 10*time.Millisecond) {
		filter := fmt.Sprint("switch/", s.rng.IntN(switches))
		wish := subscription(s.rng.IntN(2))
		s.set(filter, unknown)
		var ok bool
		if wish == on {
			var code packet.ReasonCode
			if code, ok = s.subscribe(filter, 1); ok && code != packet.GrantedQoS1 {
				s.verdict.violation(protocol, "switcher: SUBACK %v", code)
			}
		} else {
			ok = s.unsubscribe(filter)
		}
		if !ok {
			return
		}
		s.set(filter, wish)
	}
}

func (s *switcher) set(filter string, state subscription) {
	s.mu.Lock()
	s.state[filter] = state
	s.mu.Unlock()
}

// audit publishes a probe on every topic. The last one is on a topic with an
// everlasting subscription: what comes before must have come before it.
func (s *switcher) audit(addr string, round int) error {
	s.mu.Lock()
	s.round = round
	s.state["switch/end"] = on
	clear(s.got)
	s.mu.Unlock()
	prober := newClient(s.verdict, "prober", packet.V5, false, silent{})
	if err := prober.dial(addr); err != nil {
		return err
	}
	defer prober.hangUp()
	topics := make([]string, 0, switches+1)
	for i := range switches {
		topics = append(topics, fmt.Sprint("switch/", i))
	}
	for i, topic := range append(topics, "switch/end") {
		f := flow{publisher: "prober", topic: topic, qos: 1}
		prober.publish(&outgoing{flow: f, seq: i, payload: []byte(fmt.Sprint(round))}, func() {})
	}
	if !prober.landed() {
		return fmt.Errorf("prober: no PUBACK")
	}
	missing := func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		var topics []string
		for topic, state := range s.state {
			if state == on && !s.got[topic] {
				topics = append(topics, topic)
			}
		}
		return topics
	}
	if !s.await(func() bool { return len(missing()) == 0 }) {
		s.verdict.violation(lost, "switcher: SUBSCRIBE of %q was acknowledged and does not hold", missing())
	}
	return nil
}

// willBearer is a client with a will whose broker is killed. It never returns.
type willBearer struct {
	*client
	flow flow
}

// wills makes the clients with wills of a round: the combinations of version,
// session and delay. delayed is the QoS of the one with a delay: it comes when its
// time has come, which may be shortly before a kill.
func wills(v *verdict, round int, delayed packet.QoS) []*willBearer {
	var all []*willBearer
	for _, w := range []struct {
		name    string
		version packet.Version
		durable bool
		delay   uint32
		qos     packet.QoS
	}{
		{"v311-clean", packet.V311, false, 0, 1},
		{"v311-durable", packet.V311, true, 0, 2},
		{"v5-clean", packet.V5, false, 0, 2},
		{"v5-durable", packet.V5, true, 0, 1},
		{"v5-delay", packet.V5, true, 1, delayed},
	} {
		id := fmt.Sprintf("will-%d-%s", round, w.name)
		f := flow{publisher: id, topic: "wills/" + id, qos: w.qos}
		c := newClient(v, id, w.version, w.durable, silent{})
		c.setWill(f, f.payload(1, round), w.delay)
		all = append(all, &willBearer{client: c, flow: f})
	}
	return all
}
