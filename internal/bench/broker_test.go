package bench

import (
	"context"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"midge/internal/packet"
)

// testBroker is a broker of the simplest kind, over net.Pipe, that can be made
// to do what a broker must not.
type testBroker struct {
	version packet.Version // of all clients; set before the first one
	delay   time.Duration  // between receiving a message and sending it on

	// message, if not nil, decides what becomes of the nth PUBLISH received,
	// from 1: nil sends it on as it is.
	message func(n int, d *delivery)
	// acknowledge, if not nil, may change or withhold (nil) the answer to the
	// nth PUBLISH.
	acknowledge func(n int, ack []byte) []byte
	// greet, if not nil, may change or withhold the answer to the nth CONNECT.
	greet func(n int, connack *packet.Connack) bool
	// greeting, if not empty, is the answer to CONNECT, upon which it hangs up.
	greeting string
	// refuse makes the SUBACK refuse.
	refuse bool
	// sessions, if not nil, are kept for clients that don't ask for a clean one.
	sessions map[string]*testSession
	// retained, if not nil, are the retained messages by topic, and
	// read decides what becomes of the nth that is sent upon SUBSCRIBE, from 1.
	retained map[string]packet.Publish
	read     func(n int, d *delivery)

	mu       sync.Mutex
	conns    map[*testConn]bool
	received int
	connects int
	reads    int
	groups   map[string]int // deliveries by shared filter
	held     []func()       // what reorder keeps back
	running  sync.WaitGroup
}

// delivery is a message on its way to the subscribers.
type delivery struct {
	packet.Publish
	copies int  // to each subscriber: 1
	hold   bool // send after the next message
	all    bool // to everybody who is connected, whatever they subscribed to
	raw    []byte
	hangUp bool          // close the subscribers' connections
	wait   time.Duration // before a retained message is sent
}

// testSession is what is kept for a client: messages only while it is away.
type testSession struct {
	filters []packet.Subscription
	waiting []packet.Publish
	here    bool
}

type testConn struct {
	net.Conn
	session *testSession // nil for a clean one
	id      string
	filters []packet.Subscription
	will    *packet.Will
	writing sync.Mutex
	lastID  packet.ID
}

func newTestBroker() *testBroker {
	return &testBroker{version: packet.V311, conns: map[*testConn]bool{}, groups: map[string]int{}}
}

// dial is for network.Dial.
func (b *testBroker) dial(context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	c := &testConn{Conn: here}
	b.running.Go(func() { b.serve(c) })
	return there, nil
}

func (b *testBroker) serve(c *testConn) {
	var in []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		in = append(in, buf[:n]...)
		for {
			first, body, size, fault := packet.Split(in, packet.MaxSize)
			if fault != nil || size == 0 {
				break
			}
			if !b.packet(c, first, body) {
				err = io.EOF
				break
			}
			in = in[size:]
		}
		if err != nil {
			break
		}
	}
	b.mu.Lock()
	delete(b.conns, c)
	if c.session != nil {
		c.session.filters, c.session.here = c.filters, false
	}
	will := c.will
	b.mu.Unlock()
	_ = c.Close()
	if will != nil {
		b.route(0, &delivery{Publish: packet.Publish{QoS: will.QoS, Topic: will.Topic, Payload: will.Payload}, copies: 1})
	}
}

func (c *testConn) send(p []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, _ = c.Write(p)
}

func (b *testBroker) packet(c *testConn, first byte, body []byte) bool {
	v := b.version
	switch packet.TypeOf(first) {
	case packet.CONNECT:
		return b.connect(c, first, body)
	case packet.SUBSCRIBE:
		var p packet.Subscribe
		if p.Decode(v, first, body) != nil {
			return false
		}
		answer := packet.Suback{ID: p.ID}
		b.mu.Lock()
		for _, s := range p.Subscriptions {
			s.Filter = slices.Clone(s.Filter)
			c.filters = append(c.filters, s)
			code := packet.ReasonCode(s.QoS)
			if b.refuse {
				code = 0x80
			}
			answer.Codes = append(answer.Codes, code)
		}
		b.mu.Unlock()
		c.send(answer.Append(nil, v))
		b.sendRetained(c, p.Subscriptions)
	case packet.PUBLISH:
		var p packet.Publish
		if p.Decode(v, first, body) != nil {
			return false
		}
		p.Topic, p.Payload = slices.Clone(p.Topic), slices.Clone(p.Payload)
		b.publish(c, p)
	case packet.PUBREC:
		c.send(appendAck(nil, byte(packet.PUBREL)<<4|2, packet.ID(body[0])<<8|packet.ID(body[1])))
	case packet.PUBREL:
		c.send(appendAck(nil, byte(packet.PUBCOMP)<<4, packet.ID(body[0])<<8|packet.ID(body[1])))
	case packet.PINGREQ:
		c.send(packet.Pingresp{}.Append(nil, v))
	case packet.DISCONNECT:
		b.mu.Lock()
		c.will = nil
		b.mu.Unlock()
		return false
	}
	return true
}

func (b *testBroker) connect(c *testConn, first byte, body []byte) bool {
	var p packet.Connect
	if p.Decode(first, body) != nil {
		return false
	}
	b.mu.Lock()
	c.id = string(p.ClientID)
	b.conns[c] = true
	b.connects++
	n := b.connects
	if p.HasWill {
		w := p.Will
		w.Topic, w.Payload = slices.Clone(w.Topic), slices.Clone(w.Payload)
		c.will = &w
	}
	var answer packet.Connack
	var waiting []packet.Publish
	if b.sessions != nil {
		answer.SessionPresent, waiting = b.keep(c, &p)
	}
	b.mu.Unlock()
	if b.greeting != "" {
		c.send([]byte(b.greeting))
		return false
	}
	if b.greet == nil || b.greet(n, &answer) {
		c.send(answer.Append(nil, p.Version))
	}
	for i := range waiting {
		b.deliver(c, waiting[i].QoS, &delivery{Publish: waiting[i], copies: 1})
	}
	return true
}

// keep finds or makes the session of a client.
func (b *testBroker) keep(c *testConn, p *packet.Connect) (present bool, waiting []packet.Publish) {
	s := b.sessions[c.id]
	if p.CleanStart {
		delete(b.sessions, c.id)
		return false, nil
	}
	if present = s != nil; !present {
		s = &testSession{}
		b.sessions[c.id] = s
	}
	waiting, s.waiting, s.here = s.waiting, nil, true
	c.session, c.filters = s, s.filters
	return present, waiting
}

func (b *testBroker) publish(c *testConn, p packet.Publish) {
	b.mu.Lock()
	b.received++
	n := b.received
	if b.retained != nil && p.Retain {
		if len(p.Payload) > 0 {
			b.retained[string(p.Topic)] = p
		} else {
			delete(b.retained, string(p.Topic))
		}
	}
	b.mu.Unlock()
	if p.QoS > 0 {
		t := packet.PUBACK
		if p.QoS == 2 {
			t = packet.PUBREC
		}
		ack := appendAck(nil, byte(t)<<4, p.ID)
		if b.acknowledge != nil {
			ack = b.acknowledge(n, ack)
		}
		if ack != nil {
			c.send(ack)
		}
	}
	d := &delivery{Publish: p, copies: 1}
	if b.message != nil {
		b.message(n, d)
	}
	if b.delay == 0 {
		b.route(n, d)
		return
	}
	b.running.Go(func() {
		time.Sleep(b.delay) // in the virtual time of a synctest bubble
		b.route(n, d)
	})
}

// sendRetained sends the retained messages that new subscriptions ask for.
func (b *testBroker) sendRetained(c *testConn, subs []packet.Subscription) {
	b.mu.Lock()
	var all []delivery
	for _, topic := range slices.Sorted(maps.Keys(b.retained)) {
		for _, s := range subs {
			if matches(string(s.Filter), topic) {
				d := delivery{Publish: b.retained[topic], copies: 1}
				d.QoS = min(d.QoS, s.QoS)
				b.reads++
				if b.read != nil {
					b.read(b.reads, &d)
				}
				all = append(all, d)
			}
		}
	}
	b.mu.Unlock()
	for _, d := range all {
		time.Sleep(d.wait)
		b.deliver(c, d.QoS, &d)
	}
}

func (b *testBroker) route(n int, d *delivery) {
	b.mu.Lock()
	held := b.held
	b.held = nil
	if d.hold {
		d.hold = false
		b.held = append(held, func() { b.route(n, d) })
		b.mu.Unlock()
		return
	}
	type target struct {
		c   *testConn
		qos packet.QoS
	}
	var targets []target
	shared := map[string][]target{}
	for c := range b.conns {
		for _, s := range c.filters {
			if d.all || matches(string(s.Filter), string(d.Topic)) {
				to := target{c, min(s.QoS, d.QoS)}
				if strings.HasPrefix(string(s.Filter), "$share/") {
					shared[string(s.Filter)] = append(shared[string(s.Filter)], to)
				} else {
					targets = append(targets, to)
				}
			}
		}
	}
	for _, s := range b.sessions {
		for _, f := range s.filters {
			if !s.here && matches(string(f.Filter), string(d.Topic)) {
				p := d.Publish
				p.QoS = min(p.QoS, f.QoS)
				s.waiting = append(s.waiting, p)
			}
		}
	}
	for filter, group := range shared {
		slices.SortFunc(group, func(a, z target) int { return strings.Compare(a.c.id, z.c.id) })
		if d.all {
			targets = append(targets, group...)
			continue
		}
		targets = append(targets, group[b.groups[filter]%len(group)])
		b.groups[filter]++
	}
	b.mu.Unlock()
	for _, to := range targets {
		b.deliver(to.c, to.qos, d)
	}
	for _, f := range held {
		f()
	}
}

func (b *testBroker) deliver(c *testConn, qos packet.QoS, d *delivery) {
	if d.hangUp {
		_ = c.Close()
		return
	}
	if d.raw != nil {
		c.send(d.raw)
		return
	}
	for range d.copies {
		p := d.Publish
		p.QoS, p.ID = qos, 0
		if qos > 0 {
			c.writing.Lock()
			c.lastID++
			p.ID = c.lastID
			c.writing.Unlock()
		}
		c.send(p.Append(nil, b.version))
	}
}

// matches knows the filters that the bench uses.
func matches(filter, topic string) bool {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	if prefix, ok := strings.CutSuffix(filter, "#"); ok {
		return strings.HasPrefix(topic, prefix)
	}
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if len(f) != len(t) {
		return false
	}
	for i := range f {
		if f[i] != "+" && f[i] != t[i] {
			return false
		}
	}
	return true
}
