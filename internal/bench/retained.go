package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"midge/internal/packet"
)

// layMore publishes what the broker takes now.
func (w *worker) layMore(remove bool) {
	r := &w.retained
	c := r.by
	binary.BigEndian.PutUint64(w.payload[4:], 0)
	binary.BigEndian.PutUint32(w.payload[12:], 0)
	for r.sent < w.s.Retained && r.sent-r.acked < c.pub.limit && len(c.conn.Out) < maxPending {
		binary.BigEndian.PutUint32(w.payload, uint32(r.sent))
		r.topic = w.appendRetainedTopic(r.topic[:0], r.sent)
		p := packet.Publish{QoS: 1, Retain: true, ID: packet.ID(r.sent%65535 + 1), Topic: r.topic, Payload: w.payload}
		if remove {
			p.Payload = nil
		}
		c.conn.Out = p.Append(c.conn.Out, w.Version)
		r.sent++
	}
	w.loop.Touch(&c.conn)
}

// laid takes the PUBACK of a retained message.
func (w *worker) laid(c *client, first byte, body []byte) {
	r := &w.retained
	switch err := w.ack.Decode(w.Version, first, body); {
	case err != nil:
		w.violation(c, err)
	case w.ack.Type != packet.PUBACK || r.acked == r.sent:
		w.violated(c, "%v for an identifier that is not waiting for one", w.ack.Type)
	default:
		if w.ack.Code.Failed() {
			w.out.Faulty.Refused++
			w.detail("a retained message was refused: %v", w.ack.Code)
		}
		r.acked++
		w.progress++
	}
}

// readAgain has the readers ask for all retained messages, if it is time, and
// returns when it will be.
func (w *worker) readAgain(now time.Duration) (next time.Duration) {
	r := &w.retained
	if len(r.readers) == 0 || r.reading > 0 {
		return never
	}
	due := max(w.measureFrom, r.ended) + readPause
	if due >= w.end {
		return never
	}
	if now < due {
		return due
	}
	for _, c := range r.readers {
		if c.stage != ready {
			continue // it is gone, or its last SUBACK is still to come
		}
		c.read.on = true
		clear(c.read.got.words)
		c.read.got.unique = 0
		r.reading++
		w.subscribe(c, []string{w.retainedFilter()}, w.s.SubQoS)
	}
	r.begun = now
	return never
}

// read checks and counts a retained message.
func (w *worker) read(c *client, p *packet.Publish, now time.Duration) {
	r := &w.retained
	if len(p.Payload) != len(w.payload) || !bytes.Equal(p.Payload[MinPayload:], w.payload[MinPayload:]) || !p.Retain || p.QoS != w.retainedQoS() {
		w.corrupt(p)
		return
	}
	n := int(binary.BigEndian.Uint32(p.Payload))
	r.topic = w.appendRetainedTopic(r.topic[:0], n)
	if n >= w.s.Retained || !bytes.Equal(p.Topic, r.topic) {
		w.misrouted("the retained message of topic %s on topic %s", r.topic, p.Topic)
		return
	}
	if !c.read.on || !c.read.got.take(uint32(n)) {
		w.out.Faulty.Duplicates++
		w.detail("the retained message %d came twice", n)
		return
	}
	if now >= w.measureFrom && now < w.end {
		w.out.Read++
	}
	if c.read.got.unique == 1 {
		w.firstTime.record(int64(now - r.begun))
	}
	if int(c.read.got.unique) == w.s.Retained {
		w.wholeTime.record(int64(now - r.begun))
		w.hasRead(c, now)
	}
}

// retainedQoS is the QoS at which retained messages arrive.
func (w *worker) retainedQoS() packet.QoS { return packet.QoS(min(1, w.s.SubQoS)) }

// appendRetainedTopic appends the topic of retained message n: a hundred of them
// have a level in common.
func (l *layout) appendRetainedTopic(dst []byte, n int) []byte {
	dst = append(dst, "bench/"...)
	dst = append(dst, l.Run...)
	dst = strconv.AppendInt(append(dst, "/r/"...), int64(n/100), 10)
	dst = strconv.AppendInt(append(dst, "/d/"...), int64(n%100), 10)
	return append(dst, "/v"...)
}

func (l *layout) retainedFilter() string { return fmt.Sprintf("bench/%s/r/#", l.Run) }
