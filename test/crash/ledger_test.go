//go:build integration && unix

package crash

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"midge/internal/packet"
)

// flow is what one publisher publishes on one topic at one QoS: what MQTT keeps
// in order. Its messages are numbered from 1.
type flow struct {
	publisher string
	topic     string
	qos       packet.QoS
}

func (f flow) String() string { return fmt.Sprintf("%s %s QoS %d", f.publisher, f.topic, f.qos) }

// payload is the payload of a message; it differs from that of all others, and
// so does every part of it.
func (f flow) payload(seq, round int) []byte {
	head := fmt.Sprintf("%s %s %d %d %d ", f.publisher, f.topic, f.qos, seq, round)
	return []byte(strings.Repeat(head, 1+seq%23))
}

// parse finds out which message a payload is of.
func parse(payload []byte) (f flow, seq int, err error) {
	var round int
	if _, err := fmt.Sscanf(string(payload), "%s %s %d %d %d", &f.publisher, &f.topic, &f.qos, &seq, &round); err != nil {
		return f, 0, fmt.Errorf("payload %.60q: %w", payload, err)
	}
	if !bytes.Equal(payload, f.payload(seq, round)) {
		return f, 0, fmt.Errorf("payload of %v, %d is damaged", f, seq)
	}
	return f, seq, nil
}

// ledger knows what was published and acknowledged, and what every receiver got.
type ledger struct {
	verdict *verdict

	mu        sync.Mutex
	flows     map[flow]*sent
	receivers []*receiver
	acked     [3]int // publishes acknowledged, by QoS
	received  int    // first receipts
	repeated  int    // second receipts at QoS 1
}

// sent is the publisher's side of a flow.
type sent struct {
	last  int    // number of the last message
	acked []bool // by number
}

// receiver is a subscription: of one client, or of the members of a group.
type receiver struct {
	name    string
	qos     packet.QoS // granted
	matches func(topic string) bool
	shared  bool // no order among the members
	got     map[flow]*receipts
	owed    int           // acknowledged and not received
	news    chan struct{} // holds a token when something has come
}

// receipts is the receiver's side of a flow.
type receipts struct {
	times []uint8 // received, by number
	last  int     // highest number
}

func newLedger(v *verdict) *ledger {
	return &ledger{verdict: v, flows: map[flow]*sent{}}
}

// addReceiver adds a subscription that the broker has acknowledged.
func (l *ledger) addReceiver(name string, qos packet.QoS, shared bool, matches func(topic string) bool) *receiver {
	r := &receiver{
		name: name, qos: qos, shared: shared, matches: matches,
		got: map[flow]*receipts{}, news: make(chan struct{}, 1),
	}
	l.mu.Lock()
	l.receivers = append(l.receivers, r)
	l.mu.Unlock()
	return r
}

// next returns the number for the next message of f.
func (l *ledger) next(f flow) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.flows[f]
	if s == nil {
		s = &sent{acked: make([]bool, 1)}
		l.flows[f] = s
	}
	return s.last + 1
}

// send notes that message seq is about to leave.
func (l *ledger) send(f flow, seq int) {
	l.mu.Lock()
	s := l.flows[f]
	s.last = seq
	s.acked = append(s.acked, false)
	l.mu.Unlock()
}

// acknowledge notes that the broker has taken message seq over.
func (l *ledger) acknowledge(f flow, seq int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows[f].acked[seq] = true
	l.acked[f.qos]++
	for _, r := range l.receivers {
		if r.wants(f) && !r.has(f, seq) {
			r.owed++
		}
	}
}

// wants reports whether r must get what is acknowledged of f.
func (r *receiver) wants(f flow) bool { return r.matches(f.topic) && min(f.qos, r.qos) > 0 }

func (r *receiver) has(f flow, seq int) bool {
	g := r.got[f]
	return g != nil && seq < len(g.times) && g.times[seq] > 0
}

// receive notes that r got a message.
func (l *ledger) receive(r *receiver, client string, m *packet.Publish) {
	f, seq, err := parse(m.Payload)
	if err != nil {
		l.verdict.violation(corrupt, "%s: %v", client, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.flows[f]
	if s == nil || seq < 1 || seq > s.last || f.topic != string(m.Topic) || !r.matches(f.topic) {
		l.verdict.violation(corrupt, "%s got %v, %d on %s", client, f, seq, m.Topic)
		return
	}
	if want := min(f.qos, r.qos); m.QoS != want {
		l.verdict.violation(protocol, "%s got %v, %d at QoS %d, want %d", client, f, seq, m.QoS, want)
	}
	g := r.got[f]
	if g == nil {
		g = &receipts{}
		r.got[f] = g
	}
	for len(g.times) <= seq {
		g.times = append(g.times, 0)
	}
	g.times[seq]++
	switch {
	case g.times[seq] == 1:
		l.received++
		if s.acked[seq] && r.wants(f) {
			r.owed--
		}
		if seq < g.last && !r.shared {
			l.verdict.violation(order, "%s got %v, %d after %d", client, f, seq, g.last)
		}
		g.last = max(g.last, seq)
	case m.QoS == 1:
		l.repeated++
	default:
		l.verdict.violation(duplicate, "%s got %v, %d again (%d times)", client, f, seq, g.times[seq])
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// owed returns how many messages that were acknowledged r has not got yet.
func (l *ledger) owed(r *receiver) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.owed
}

// missing lists what r is owed, at most limit messages of each flow.
func (l *ledger) missing(r *receiver, limit int) (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f, s := range l.flows {
		here := 0
		for seq := 1; seq <= s.last && here < limit && r.wants(f); seq++ {
			if s.acked[seq] && !r.has(f, seq) {
				here++
				list = append(list, fmt.Sprintf("%s has not got %v, %d (of %d sent)", r.name, f, seq, s.last))
			}
		}
	}
	return list
}

// totals are the figures of the table.
type totals struct {
	acked              [3]int
	received, repeated int
}

func (l *ledger) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return totals{l.acked, l.received, l.repeated}
}
