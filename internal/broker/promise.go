package broker

import "midge/internal/packet"

// promise is what is done once a turn is committed: usually a client is sent
// something.
type promise struct {
	turn uint64 // of the shard
	c    *conn  // the network connection that asked: once it closes, nothing is done. nil: always open
	then func() // what to do, or:
	id   packet.ID
	qos  packet.QoS // acknowledge a PUBLISH of this QoS
	code packet.ReasonCode
}

// promises wait in the order of their turns.
type promises struct {
	all            []promise     // from next on
	next           int           // in all
	unacknowledged map[*conn]int // how many of them acknowledge a PUBLISH, by connection
}

func (q *promises) empty() bool { return q.next == len(q.all) }

func (q *promises) add(p promise) {
	if p.then == nil {
		q.unacknowledged[p.c]++
	}
	q.all = append(q.all, p)
}

// acknowledges reports whether an acknowledgement for a connection waits: then
// later ones must wait as well (MQTT-4.6.0-2, -3).
func (q *promises) acknowledges(c *conn) bool {
	return len(q.unacknowledged) > 0 && q.unacknowledged[c] > 0
}

// due reports whether the turn of the next one is committed.
func (q *promises) due(committed uint64) bool {
	return !q.empty() && q.all[q.next].turn <= committed
}

// take takes the next one. The places of those that were taken are given back
// once they are many.
func (q *promises) take() (p promise) {
	p = q.all[q.next]
	q.all[q.next] = promise{}
	q.next++
	if p.then == nil {
		if q.unacknowledged[p.c]--; q.unacknowledged[p.c] == 0 {
			delete(q.unacknowledged, p.c)
		}
	}
	switch {
	case q.empty():
		q.all, q.next = q.all[:0], 0
	case q.next > 1024 && q.next > len(q.all)/2:
		n := copy(q.all, q.all[q.next:])
		clear(q.all[n:])
		q.all, q.next = q.all[:n], 0
	}
	return p
}

// takeAll takes all of them, whatever is committed.
func (q *promises) takeAll() []promise {
	all := q.all[q.next:]
	q.all, q.next = nil, 0
	clear(q.unacknowledged)
	return all
}
