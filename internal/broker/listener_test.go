package broker

import (
	"fmt"
	"strconv"

	"midge/internal/packet"
)

// listener is a client.
type listener struct {
	f        *faultyDisk
	id       string
	v        packet.Version
	stored   bool
	p        *peer
	joined   bool
	promised bool // the session
	filter   bool // SUBACK has come, and did not refuse
	nextID   packet.ID
	open     map[packet.ID]*posting
	got      map[int]int
	incoming map[packet.ID]bool
	granted  int // SUBACK that did not refuse
	refused  int // PUBACK, PUBREC, SUBACK and CONNACK with Quota exceeded
	pongs    int
}

// posting is a message that was sent and not acknowledged.
type posting struct {
	n      int
	retain bool
	owed   map[string]bool
}

func value(payload []byte) int {
	n, _ := strconv.Atoi(string(payload[:min(len(payload), 6)]))
	return n
}

func (l *listener) send(b []byte) {
	if l.p != nil && !l.p.closed {
		l.p.in = append(l.p.in, b...)
		if !l.p.paused {
			l.p.offer()
		}
	}
}

func (l *listener) connect() {
	l.p = l.f.w.dial(l.v)
	c := packet.Connect{Version: l.v, ClientID: []byte(l.id), CleanStart: !l.stored}
	if l.stored && l.v == packet.V5 {
		c.Properties.SessionExpiry = never
		c.Properties.Set(packet.PropSessionExpiry)
	}
	l.joined = false
	l.send(c.Append(nil))
	l.f.turn()
}

func (l *listener) leave() {
	l.read()
	l.send((&packet.Disconnect{}).Append(nil, l.v))
	l.f.w.turn()
	l.p, l.joined = nil, false
	clear(l.open)
}

func (l *listener) subscribe(qos packet.QoS) { l.subscribeTo("t/#", qos) }

func (l *listener) subscribeTo(filter string, qos packet.QoS) {
	if l.p != nil && l.joined {
		s := packet.Subscribe{ID: 60_000, Subscriptions: []packet.Subscription{{Filter: []byte(filter), QoS: qos}}}
		l.send(s.Append(nil, l.v))
	}
}

func (l *listener) publish(qos packet.QoS, retain, large bool) int {
	if retain && qos > 0 {
		return l.publishTo("r/x", qos, true, large)
	}
	return l.publishTo("t/x", qos, false, large)
}

// publishTo publishes a message and returns its number.
func (l *listener) publishTo(name string, qos packet.QoS, retain, large bool) int {
	f := l.f
	if l.p == nil || !l.joined || len(l.open) > 20 {
		return 0
	}
	f.sent++
	text := fmt.Sprintf("%06d", f.sent)
	if large { // lies apart on disk
		text += string(make([]byte, 20_000))
	}
	m := packet.Publish{QoS: qos, Retain: retain, Topic: []byte(name), Payload: []byte(text)}
	if qos > 0 {
		l.nextID++
		m.ID = l.nextID
		owed := map[string]bool{}
		for _, to := range f.subs {
			owed[to.id] = to.filter && name == "t/x"
		}
		l.open[m.ID] = &posting{f.sent, retain, owed}
	}
	l.send(m.Append(nil, l.v))
	return f.sent
}

// read takes what has come, and answers it.
func (l *listener) read() {
	for l.p != nil && len(l.p.out) > 0 {
		first, body, size, err := packet.Split(l.p.out, packet.MaxSize)
		if err != nil || size == 0 {
			l.f.fail("%s got % x", l.id, l.p.out)
		}
		body = append([]byte(nil), body...)
		l.p.out = l.p.out[size:]
		l.packet(first, body)
		if l.p != nil && l.p.closed && len(l.p.out) == 0 {
			l.p, l.joined = nil, false
		}
	}
}

func (l *listener) packet(first byte, body []byte) {
	must := func(err error) {
		if err != nil {
			l.f.fail("%s: %v", l.id, err)
		}
	}
	switch packet.TypeOf(first) {
	case packet.CONNACK:
		var c packet.Connack
		must(c.Decode(l.v, first, body))
		l.welcome(&c)
	case packet.PUBLISH:
		var m packet.Publish
		must(m.Decode(l.v, first, body))
		l.receive(&m)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		var k packet.Ack
		must(k.Decode(l.v, first, body))
		l.ack(&k)
	case packet.SUBACK:
		var k packet.Suback
		must(k.Decode(l.v, first, body))
		if k.Codes[0].Failed() {
			l.refused++
		} else {
			l.filter = true
			l.granted++
		}
	case packet.PINGRESP:
		l.pongs++
	case packet.DISCONNECT:
		var d packet.Disconnect
		must(d.Decode(l.v, first, body))
		if d.Code != packet.QuotaExceeded || !l.f.st.Failed() {
			l.f.fail("%s: DISCONNECT %v although the disk says %v", l.id, d.Code, l.f.st.Err())
		}
	default:
		l.f.fail("%s got %v % x", l.id, packet.TypeOf(first), body)
	}
}

func (l *listener) welcome(c *packet.Connack) {
	if c.Code != packet.Success {
		if want := packet.QuotaExceeded; l.v == packet.V5 && c.Code != want || l.f.st.Err() == nil {
			l.f.fail("%s: CONNACK %v although the disk says %v", l.id, c.Code, l.f.st.Err())
		}
		l.refused++
		return
	}
	if l.promised && !c.SessionPresent {
		l.f.fail("LOST: the session of %s", l.id)
	}
	l.joined, l.promised = true, l.stored
}

func (l *listener) receive(m *packet.Publish) {
	if m.QoS == 2 {
		l.send((&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, l.v))
		if l.incoming[m.ID] {
			return
		}
		l.incoming[m.ID] = true
		if n := value(m.Payload); l.got[n] > 0 {
			l.f.fail("TWICE: QoS 2 message %d came to %s again", n, l.id)
		}
	}
	l.got[value(m.Payload)]++
	if m.QoS == 1 {
		l.send((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, l.v))
	}
}

func (l *listener) ack(k *packet.Ack) {
	switch k.Type {
	case packet.PUBREL:
		delete(l.incoming, k.ID)
		l.send((&packet.Ack{Type: packet.PUBCOMP, ID: k.ID}).Append(nil, l.v))
		return
	case packet.PUBCOMP:
		return
	}
	s := l.open[k.ID]
	delete(l.open, k.ID)
	switch {
	case s == nil:
		l.f.fail("%s: %v %d for nothing", l.id, k.Type, k.ID)
	case k.Code == packet.QuotaExceeded:
		l.refused++
	case k.Code.Failed():
		l.f.fail("%s: %v with %v", l.id, k.Type, k.Code)
	default:
		l.f.owed[s.n] = s.owed
		if s.retain {
			l.f.retained = max(l.f.retained, s.n)
		}
		if k.Type == packet.PUBREC {
			l.send((&packet.Ack{Type: packet.PUBREL, ID: k.ID}).Append(nil, l.v))
		}
	}
}
