package bench

import (
	"encoding/binary"
	"math"
	"sort"
	"time"

	"midge/internal/packet"
)

// flow is what a worker knows of one publisher on one topic.
type flow struct {
	pub      *client // nil if another worker has it
	topic    []byte
	only     int    // the one subscriber that gets the flow, if layout.own
	copies   uint32 // quick subscribers here that get the flow: those that a closed loop waits for
	sent     uint32
	acked    uint32
	received uint64 // progress of all of copies, summed
}

// due is when message seq of a flow is to be sent in an open loop: the flows
// take turns, each on its own place in the schedule.
func (w *worker) due(f int, seq uint32) time.Duration {
	n := float64(seq)*float64(w.flows) + float64(f)
	return w.begin + time.Duration(n*float64(time.Second)/w.s.Rate)
}

// pump sends what a flow may send now. late: it was held up before.
func (w *worker) pump(f int, now time.Duration, late bool) {
	fl := &w.flow[f]
	for w.publishing && (w.s.Messages == 0 || int(fl.sent) < w.s.Messages) {
		due := now
		if w.s.Rate > 0 {
			if due = w.due(f, fl.sent); due > now || due >= w.end {
				return
			}
		} else if now >= w.end || !w.windowOpen(fl) {
			return
		}
		if !w.room(fl.pub) {
			w.block(fl.pub)
			return
		}
		if w.s.Rate > 0 && !late && due >= w.measureFrom {
			w.lag.record(int64(now - due))
		}
		w.send(fl, f, due, now)
	}
}

// windowOpen reports whether a closed loop lets the flow send: neither too many
// on their way to the subscribers here, nor too many unacknowledged.
func (w *worker) windowOpen(fl *flow) bool {
	window := uint32(w.s.Window)
	arrived := fl.sent
	if fl.copies > 0 && !w.s.Offline {
		arrived = uint32(fl.received)
		if fl.copies > 1 {
			arrived = uint32(fl.received / uint64(fl.copies))
		}
	}
	return fl.sent-min(arrived, fl.sent) < window && (w.s.QoS == 0 || fl.sent-fl.acked < window)
}

func (w *worker) send(fl *flow, f int, due, now time.Duration) {
	c := fl.pub
	binary.BigEndian.PutUint32(w.payload, uint32(f))
	binary.BigEndian.PutUint32(w.payload[4:], fl.sent)
	binary.BigEndian.PutUint64(w.payload[8:], uint64(due))
	p := packet.Publish{QoS: packet.QoS(w.s.QoS), Retain: w.s.Retain, Topic: fl.topic, Payload: w.payload}
	if w.s.QoS > 0 {
		p.ID = c.pub.take(c.lastID)
		c.lastID = p.ID
		awaited := packet.PUBACK
		if w.s.QoS == 2 {
			awaited = packet.PUBREC
		}
		c.pub.slots[p.ID-1] = slot{awaited, int32(f), int64(now)}
		c.pub.inflight++
		w.inflight++
	}
	c.conn.Out = p.Append(c.conn.Out, w.Version)
	w.loop.Touch(&c.conn)
	fl.sent++
	w.sent++
	w.progress++
	if now >= w.measureFrom && now < w.end {
		w.out.Published++
	}
}

// block has the publisher tried again at the end of each turn.
func (w *worker) block(c *client) {
	if !c.pub.blocked {
		c.pub.blocked = true
		w.blocked = append(w.blocked, c)
	}
}

// unblock lets publishers send that have room again.
func (w *worker) unblock(now time.Duration) {
	waiting := w.blocked
	w.blocked = w.unblocked[:0]
	w.unblocked = waiting // both lists keep their memory
	for _, c := range waiting {
		if !w.room(c) {
			w.blocked = append(w.blocked, c)
			continue
		}
		c.pub.blocked = false
		for _, f := range c.pub.flows {
			w.pump(int(f), now, true)
		}
	}
}

// sendDue sends what an open loop has to send by now, and returns when the
// next message is due.
func (w *worker) sendDue(now time.Duration) time.Duration {
	for len(w.sends) > 0 {
		f := int(w.sends[w.cursor])
		due := w.due(f, w.round)
		if due >= w.end || w.s.Messages > 0 && int(w.round) >= w.s.Messages {
			return never
		}
		if due > now {
			return due
		}
		w.pump(f, now, w.flow[f].sent != w.round)
		if w.cursor++; w.cursor == len(w.sends) {
			w.cursor = 0
			w.round++
		}
	}
	return never
}

// planned is how many messages this worker sends in all; never-ending if the
// time is what ends the run.
func (w *worker) planned() uint64 {
	switch {
	case w.s.Messages > 0:
		return uint64(len(w.sends)) * uint64(w.s.Messages)
	case w.s.Rate == 0:
		return math.MaxUint64
	}
	n := uint64(0)
	for _, f := range w.sends {
		count := sort.Search(math.MaxInt32, func(seq int) bool { return w.due(int(f), uint32(seq)) >= w.end })
		n += uint64(count)
	}
	return n
}

// acknowledged takes a PUBACK, PUBREC or PUBCOMP.
func (w *worker) acknowledged(c *client, first byte, body []byte, now time.Duration) {
	if err := w.ack.Decode(w.Version, first, body); err != nil {
		w.violation(c, err)
		return
	}
	a := &w.ack
	if c.pub == nil || a.ID == 0 || int(a.ID) > len(c.pub.slots) {
		w.violated(c, "%v for an identifier that is not in use", a.Type)
		return
	}
	s := &c.pub.slots[a.ID-1]
	switch {
	case s.awaited != a.Type:
		w.violated(c, "%v for an identifier that is not waiting for one", a.Type)
		return
	case a.Code.Failed():
		w.out.Faulty.Refused++
		w.detail("PUBLISH refused: %v", a.Code)
	case a.Type == packet.PUBREC:
		s.awaited = packet.PUBCOMP
		c.conn.Out = appendAck(c.conn.Out, byte(packet.PUBREL)<<4|0b0010, a.ID)
		w.loop.Touch(&c.conn)
		return
	}
	w.progress++
	if s.sent >= int64(w.measureFrom) && s.sent < int64(w.end) {
		w.ackTime.record(int64(now) - s.sent)
	}
	f := int(s.flow)
	s.awaited = 0
	c.pub.inflight--
	w.inflight--
	w.flow[f].acked++
	if w.s.Rate == 0 {
		w.pump(f, now, false)
	}
}
