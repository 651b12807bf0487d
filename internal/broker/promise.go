package broker

import (
	"slices"

	"midge/internal/packet"
)

// promise is what is done once a turn is committed: usually a client is sent
// something.
type promise struct {
	turn uint64 // of the shard
	c    *conn  // the network connection that asked: once it closes, nothing is done. nil: always open
	then func() // what to do, or:
	id   packet.ID
	qos  packet.QoS // acknowledge a PUBLISH of this QoS
	code packet.ReasonCode
	size uint32 // of what then keeps beyond thenBytes
}

// A connection whose promises take maxPromised bytes is not read before half of them are
// kept: it would have the broker pile up answers for as long as the disk takes
// nothing. These are 16,384 acknowledgements or 2,048 other answers, more than any
// client waits for.
const (
	maxPromised = 512 << 10
	ackBytes    = 32  // of an acknowledgement
	thenBytes   = 256 // of another promise, about
)

func (p *promise) bytes() int {
	if p.then == nil {
		return ackBytes
	}
	return thenBytes + int(p.size)
}

// promises wait in the order of their turns.
type promises struct {
	all      []promise           // from next on
	next     int                 // in all
	promised map[*conn]*promised // by connection that is open
	spare    []*promised         // memory of those
	closed   int                 // how many are for connections that are closed
}

// promised is what waits for a connection.
type promised struct {
	promises int
	acks     int // of these, for a PUBLISH
	bytes    int
}

func (q *promises) init() { q.promised = map[*conn]*promised{} }

func (q *promises) empty() bool { return q.next == len(q.all) }

// add adds one, and returns how many bytes the connection's take.
func (q *promises) add(p promise) (bytes int) {
	q.all = append(q.all, p)
	if p.c == nil {
		return 0
	}
	o := q.promised[p.c]
	if o == nil {
		if n := len(q.spare); n > 0 {
			o, q.spare = q.spare[n-1], q.spare[:n-1]
		} else {
			o = &promised{}
		}
		q.promised[p.c] = o
	}
	o.promises++
	if p.then == nil {
		o.acks++
	}
	o.bytes += p.bytes()
	return o.bytes
}

// acknowledges reports whether an acknowledgement for a connection waits: then
// later ones must wait as well (MQTT-4.6.0-2, -3).
func (q *promises) acknowledges(c *conn) bool {
	if len(q.promised) == 0 {
		return false
	}
	o := q.promised[c]
	return o != nil && o.acks > 0
}

// due reports whether the turn of the next one is committed.
func (q *promises) due(committed uint64) bool {
	return !q.empty() && q.all[q.next].turn <= committed
}

// take takes the next one, and reports whether its connection may be read again. The
// places of those that were taken are given back once they are many.
func (q *promises) take() (p promise, relieved bool) {
	p = q.all[q.next]
	q.all[q.next] = promise{}
	q.next++
	if o := q.promised[p.c]; o != nil {
		before := o.bytes
		o.bytes -= p.bytes()
		relieved = before > maxPromised/2 && o.bytes <= maxPromised/2
		if p.then == nil {
			o.acks--
		}
		if o.promises--; o.promises == 0 {
			q.release(p.c, o)
		}
	} else if p.c != nil {
		q.closed--
	}
	switch {
	case q.empty():
		q.all, q.next = q.all[:0], 0
	case q.next > 1024 && q.next > len(q.all)/2:
		n := copy(q.all, q.all[q.next:])
		clear(q.all[n:])
		q.all, q.next = q.all[:n], 0
	}
	return p, relieved
}

// release ends what waits for a connection.
func (q *promises) release(c *conn, o *promised) {
	delete(q.promised, c)
	if *o = (promised{}); len(q.spare) < 64 {
		q.spare = append(q.spare, o)
	}
}

// forget gives up what was promised to a connection that is closed. Their places
// are given back once they are most of all.
func (q *promises) forget(c *conn) {
	o := q.promised[c]
	if o == nil {
		return
	}
	q.closed += o.promises
	q.release(c, o)
	if q.closed > 64 && q.closed > (len(q.all)-q.next)/2 {
		waiting := slices.Delete(q.all, 0, q.next)
		q.all = slices.DeleteFunc(waiting, func(p promise) bool { return p.c != nil && q.promised[p.c] == nil })
		q.next, q.closed = 0, 0
	}
}

// takeAll takes all of them, whatever is committed.
func (q *promises) takeAll() []promise {
	all := q.all[q.next:]
	q.all, q.next, q.closed = nil, 0, 0
	clear(q.promised)
	return all
}
