package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"midge/internal/bench/loop"
	"midge/internal/packet"
)

// Opened is part of loop.Handler.
func (w *worker) Opened(conn *loop.Conn) { w.greet(&w.clients[conn.Index]) }

// Data is part of loop.Handler.
func (w *worker) Data(conn *loop.Conn, b []byte) (used int) {
	c := &w.clients[conn.Index]
	now := w.now()
	for used < len(b) {
		first, body, size, err := packet.Split(b[used:], packet.MaxSize)
		if err != nil {
			w.violation(c, err)
			return len(b)
		}
		if size == 0 {
			break
		}
		w.packet(c, first, body, now)
		if c.stage == away || c.stage == gone || c.stage == dialing {
			return len(b)
		}
		used += size
	}
	return used
}

func (w *worker) packet(c *client, first byte, body []byte, now time.Duration) {
	t := packet.TypeOf(first)
	if c.stage == greeting && t != packet.CONNACK {
		switch {
		case first == 'H' && bytes.HasPrefix(body, []byte("TP/")): // the second T was taken for a length
			w.refused(c, errors.New("the answer is HTTP: if this is a port for WebSocket, the address is ws://HOST:PORT"))
		case first == tlsAlert && len(body) == 3: // the 3 of the version was taken for it
			w.refused(c, errors.New("the answer is TLS: the address is mqtts://HOST:PORT"))
		default:
			w.violated(c, "%v before CONNACK", t)
		}
		return
	}
	switch t {
	case packet.PUBLISH:
		w.publish(c, first, body, now)
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
		if c.role == retainer {
			w.laid(c, first, body)
		} else {
			w.acknowledged(c, first, body, now)
		}
	case packet.PUBREL:
		if err := w.ack.Decode(w.Version, first, body); err != nil {
			w.violation(c, err)
			return
		}
		c.conn.Out = appendAck(c.conn.Out, byte(packet.PUBCOMP)<<4, w.ack.ID)
		w.loop.Touch(&c.conn)
	case packet.PINGRESP:
		if err := (packet.Pingresp{}).Decode(w.Version, first, body); err != nil {
			w.violation(c, err)
		}
	default:
		w.rare(c, t, first, body)
	}
}

// tlsAlert is the first byte of an alert of TLS (RFC 8446 section 5.1).
const tlsAlert = 21

// rare takes the packets that come once in the life of a connection.
func (w *worker) rare(c *client, t packet.Type, first byte, body []byte) {
	switch t {
	case packet.CONNACK:
		var p packet.Connack
		switch err := p.Decode(w.Version, first, body); {
		case err != nil:
			w.violation(c, err)
		case c.stage != greeting:
			w.violated(c, "a second CONNACK")
		case p.Code.Failed():
			w.refused(c, fmt.Errorf("the broker refuses the connection: %v", p.Code))
		default:
			w.greeted(c, &p)
		}
	case packet.SUBACK:
		var p packet.Suback
		if err := p.Decode(w.Version, first, body); err != nil {
			w.violation(c, err)
			return
		}
		if c.stage != subscribing {
			w.violated(c, "SUBACK without SUBSCRIBE")
			return
		}
		for _, code := range p.Codes {
			if code.Failed() {
				w.refused(c, fmt.Errorf("the broker refuses a subscription: %v", code))
				return
			}
		}
		if c.suback--; c.suback == 0 {
			c.stage = ready
			w.isReady(c)
		}
	case packet.DISCONNECT:
		var p packet.Disconnect
		if err := p.Decode(w.Version, first, body); err != nil {
			w.violation(c, err)
			return
		}
		w.loop.Close(&c.conn)
		w.ended(c, fmt.Errorf("DISCONNECT: %v", p.Code))
	default:
		w.violated(c, "%v from a broker", t)
	}
}

// publish takes a message.
func (w *worker) publish(c *client, first byte, body []byte, now time.Duration) {
	p := &w.in
	if err := p.Decode(w.Version, first, body); err != nil {
		w.violation(c, err)
		return
	}
	switch p.QoS {
	case 1:
		c.conn.Out = appendAck(c.conn.Out, byte(packet.PUBACK)<<4, p.ID)
		w.loop.Touch(&c.conn)
	case 2:
		c.conn.Out = appendAck(c.conn.Out, byte(packet.PUBREC)<<4, p.ID)
		w.loop.Touch(&c.conn)
	}
	w.progress++
	switch {
	case w.leaving:
	case c.role == watcher && string(p.Payload) == "will":
		w.out.Wills++
	case c.role == reader:
		w.read(c, p, now)
	case c.role != subscriber:
		w.misrouted("a message on %s to a client that subscribed to something else", p.Topic)
	default:
		w.message(c, p, now)
	}
}

// message checks and counts what a subscriber got.
func (w *worker) message(c *client, p *packet.Publish, now time.Duration) {
	if len(p.Payload) != len(w.payload) || !bytes.Equal(p.Payload[MinPayload:], w.payload[MinPayload:]) || p.QoS != w.delivered() {
		w.corrupt(p)
		return
	}
	f := int(binary.BigEndian.Uint32(p.Payload))
	seq := binary.BigEndian.Uint32(p.Payload[4:])
	due := time.Duration(binary.BigEndian.Uint64(p.Payload[8:]))
	if f >= w.flows || due > now+time.Minute {
		w.corrupt(p)
		return
	}
	fl := &w.flow[f]
	if !bytes.Equal(p.Topic, fl.topic) || w.layout.own && fl.only != c.n || !w.layout.own && !w.wants(c.n, f) {
		w.misrouted("a message of topic %s on topic %s, to subscriber %d", fl.topic, p.Topic, c.n)
		return
	}
	progress, ok := w.follow(c, f, seq)
	if !ok {
		return
	}
	w.received++
	w.out.LastReceipt = now
	if c.slow {
		w.out.Slow.Received++
		return
	}
	if w.lasts != nil && int(seq) < w.s.Messages {
		at := f*w.s.Messages + int(seq)
		w.lasts[at] = max(w.lasts[at], int64(now-due))
	}
	if now >= w.measureFrom && now < w.end {
		w.out.Received++
	}
	if due >= w.measureFrom && due < w.end && !w.s.Offline {
		h := w.latency
		if w.whileReading(due) {
			h = w.meanwhile
		}
		h.record(int64(now - due))
	}
	if fl.pub != nil && w.s.Rate == 0 {
		fl.received += uint64(progress)
		w.pump(f, now, false)
	}
}

// follow notes a sequence number, and tells by how much it moves the flow's
// window on and whether the message came for the first time.
func (w *worker) follow(c *client, f int, seq uint32) (progress uint32, ok bool) {
	if !w.s.shared() {
		v, progress := w.tracker[w.track(c.n, f)].take(seq)
		switch v {
		case duplicate:
			w.out.Faulty.Duplicates++
			w.detail("message %d of flow %d came twice", seq, f)
			return 0, false
		case outOfOrder:
			w.out.Faulty.OutOfOrder++
			w.detail("message %d of flow %d came after a later one", seq, f)
		}
		return progress, true
	}
	if !w.seen[f].take(seq) {
		w.out.Faulty.Duplicates++
		w.detail("message %d of flow %d came twice, to one or to two subscribers of the group", seq, f)
		return 0, false
	}
	if w.tracker != nil {
		t := &w.tracker[w.track(c.n, f)]
		if seq < t.next {
			w.out.Faulty.OutOfOrder++
			w.detail("message %d of flow %d came after a later one to the same subscriber", seq, f)
		}
		t.next = max(t.next, seq+1)
	}
	return 1, true
}

// Closed is part of loop.Handler.
func (w *worker) Closed(conn *loop.Conn, err error) {
	c := &w.clients[conn.Index]
	if err == io.EOF {
		err = fmt.Errorf("the broker closed the connection")
	}
	switch c.stage {
	case greeting:
		w.refused(c, fmt.Errorf("no CONNACK: %w", err))
		return
	case dialing:
		w.refused(c, err)
		return
	}
	w.ended(c, err)
}

// greeted goes on after CONNACK.
func (w *worker) greeted(c *client, p *packet.Connack) {
	if w.cleaning {
		w.progress++
		w.disconnect(c)
		return
	}
	if !c.slow {
		w.connectTime.record(int64(w.now() - c.due))
	}
	switch c.role {
	case subscriber:
		if c.back {
			c.stage = ready
			w.returned(p.SessionPresent)
			return
		}
		w.subscribe(c, w.filters(c.n), w.s.SubQoS)
	case publisher, retainer:
		c.pub.limit = w.s.Inflight
		if p.Properties.Has(packet.PropReceiveMaximum) {
			c.pub.limit = min(c.pub.limit, int(p.Properties.ReceiveMaximum))
		}
		c.stage = ready
	case reader:
		c.stage = ready // it subscribes later
	case idler:
		w.subscribe(c, w.idleFilters(c.n), 0)
	case watcher:
		w.subscribe(c, []string{w.willTopic()}, 1)
	case comer:
		w.churnTime.record(int64(w.now() - c.due))
		w.subscribe(c, []string{w.churnTopic(c.n)}, 0)
	}
	if c.stage == ready {
		w.isReady(c)
	}
}

// isReady goes on after the last SUBACK.
func (w *worker) isReady(c *client) {
	if c.role == comer {
		w.leaveAgain(c)
		return
	}
	w.progress++
	if c.role == reader && w.connectedAll {
		return // it has asked for retained messages
	}
	w.readyCount++
	if c.role == subscriber && w.s.Offline {
		w.disconnect(c) // its session is all that was wanted
	}
}

// returned counts a client that came back to its session.
func (w *worker) returned(present bool) {
	w.returnedCount++
	w.progress++
	if !present {
		w.out.SessionsLost++
		w.detail("a session was gone when its client returned")
	}
}
