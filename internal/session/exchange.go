package session

import (
	"math"
	"slices"

	"midge/internal/message"
	"midge/internal/packet"
)

// exchange is a message above QoS 0 in flight: from PUBLISH, or from the wait
// for the disk before it, until PUBACK or PUBCOMP (MQTT 5.0 section 4.3).
type exchange struct {
	entry
	parcel    *message.Parcel // that m is of, retained; nil: m is memory of its own
	turn      uint64          // of the journal, while committing
	id        packet.ID
	issued    uint32 // exchanges.issued when it began
	state     state
	counted   bool // in Link.inflight
	neverSent bool
}

type state uint8

const (
	unsent       state = iota // PUBLISH is to be sent on this connection
	committing                // stored QoS 2: not sent before its identifier is on disk
	awaitAck                  // PUBACK or PUBREC
	contentLost               // PUBREL is to be sent, for the client may have the message
	awaitPubcomp              // PUBREL was sent, or is to be sent by Resume
	done
)

// exchanges are the messages that are in flight, in the order of their first
// PUBLISH (MQTT-4.6.0-6). It knows no connection and no journal.
type exchanges struct {
	list    []exchange // from head on
	head    int32
	content int32  // bytes of the messages whose content is in memory
	issued  uint32 // packet identifiers that were given out ever, modulo 2^32
	open    uint16 // exchanges that are not done
	unsent  uint16 // of these, those that have something to send; see toSend
}

// all are the exchanges that are open, and some that are done between them.
func (x *exchanges) all() []exchange { return x.list[x.head:] }

// begin adds an exchange, committing or awaitAck, that has its identifier from nextID.
func (x *exchanges) begin(e *exchange) {
	if x.head > 0 && len(x.list) == cap(x.list) {
		n := copy(x.list, x.all())
		clear(x.list[n:])
		x.list, x.head = x.list[:n], 0
	}
	e.issued = x.issued
	x.content += e.held()
	x.list = append(x.list, *e)
	x.open++
}

// keep gives an exchange that has not begun the content of a message.
func (e *exchange) keep(m *Cloner) {
	if e.parcel = m.Parcel; e.parcel == nil {
		e.m = m.Clone()
		return
	}
	e.parcel.Retain()
	e.m = &e.parcel.Message
}

// held is how much memory the content takes, in bytes.
func (e *exchange) held() int32 {
	switch {
	case e.m == nil:
		return 0
	case e.parcel != nil:
		return int32(e.parcel.Held())
	}
	return int32(e.size())
}

// restore adds an exchange that began before a start of the broker, unsent or
// awaitPubcomp.
func (x *exchanges) restore(e exchange) {
	x.issued = max(x.issued, uint32(e.id))
	e.issued = x.issued - math.MaxUint16 // its identifier may come round at any time
	x.list = append(x.list, e)
	x.open++
	if e.state.toSend() {
		x.unsent++
	}
}

// setContent gives an exchange its content, or takes it away.
func (x *exchanges) setContent(e *exchange, m *message.Message) {
	x.content -= e.held()
	if e.parcel != nil {
		e.parcel.Release()
		e.parcel = nil
	}
	e.m = m
	x.content += e.held()
}

// toSend reports whether something is to be sent on this connection.
func (s state) toSend() bool { return s == unsent || s == contentLost }

func (x *exchanges) setState(e *exchange, to state) {
	if e.state.toSend() {
		x.unsent--
	}
	if to.toSend() {
		x.unsent++
	}
	e.state = to
}

// end makes an exchange done. compact follows, when nobody goes through all.
func (x *exchanges) end(e *exchange) {
	x.setContent(e, nil)
	x.setState(e, done)
	e.counted = false
	e.entry = entry{}
	x.open--
}

// compact forgets exchanges that are done. Those behind an older one that is
// not go when they are the larger part.
func (x *exchanges) compact() {
	for int(x.head) < len(x.list) && x.list[x.head].state == done {
		x.head++
	}
	if int(x.head) == len(x.list) {
		x.list, x.head = x.list[:0], 0
		return
	}
	all := x.all()
	if len(all) <= 2*int(x.open)+spare {
		return
	}
	left := slices.DeleteFunc(all, func(e exchange) bool { return e.state == done })
	x.list = x.list[:int(x.head)+len(left)]
}

// spare is how many exchanges that are done may stay, besides as many as are
// open; and for how many identifiers a set has memory when it is empty.
const spare = 16

// nextID returns a packet identifier that no exchange uses (MQTT-2.2.1-4).
func (x *exchanges) nextID() packet.ID {
	for {
		if x.issued++; x.issued == 0 {
			x.issued = 1
		}
		id := packet.ID((x.issued-1)%math.MaxUint16 + 1)
		// Identifiers go up, so that one can only be in use if they have
		// gone all the way round since the oldest exchange began.
		if x.open == 0 || x.issued-x.list[x.head].issued < math.MaxUint16 || x.find(id) == nil {
			return id
		}
	}
}

// find returns the open exchange with an identifier. It looks first where it is
// as long as each exchange has the next identifier after the one before.
func (x *exchanges) find(id packet.ID) *exchange {
	all := x.all()
	if len(all) == 0 {
		return nil
	}
	at := int(id) - int(all[0].id)
	if at < 0 {
		at += math.MaxUint16
	}
	if at < len(all) && all[at].id == id && all[at].state != done {
		return &all[at]
	}
	for i := range all {
		if e := &all[i]; e.id == id && e.state != done {
			return e
		}
	}
	return nil
}

// mayHave reports whether the client has got the message at QoS 2, or may
// have: it must not go to another one then (MQTT-4.8.2-5).
func (e *exchange) mayHave() bool {
	return e.qos() == 2 && e.state != committing && !(e.state == unsent && e.neverSent)
}
