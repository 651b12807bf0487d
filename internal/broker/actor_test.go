package broker

import (
	"fmt"
	"slices"
	"time"

	"midge/test/wire"
)

// actor is a client that follows the standard.
type actor struct {
	h       *history
	id      string
	v       wire.Version
	lasting bool   // its sessions outlive connections
	took    bool   // it has been a member of it in this life of the broker
	group   string // the shared subscription that it takes part in, else ""

	line   *simLine // nil: none
	joined bool     // CONNACK has come on it
	sentIn bool     // packets were sent before CONNACK
	slow   bool     // it has not read all at once
	window int      // its Receive Maximum
	pings  int      // PINGREQ without an answer
	since  int      // step of CONNACK
	asks   asks

	promised bool          // it has been told of a session
	wiping   bool          // the session was given up, and the broker may not know
	expiry   uint32        // Session Expiry Interval that it has asked for
	before   uint32        // the one before, which is in force without CONNACK
	over     time.Duration // when the session may have ended, see history.now; 0: never
	back     int           // step before which it does not connect
	came     comeback
	raising  bool // DISCONNECT has raised the interval to never

	nextID   uint16
	open     []*sending // not acknowledged, in order
	releases []uint16
	will     *sending // of the connection
	terms    []*term
	asked    []*term // by the SUBSCRIBE that is under way
	subID    uint16
	unsubID  uint16

	kept        map[string]bool // groups of which a session that it has given up may have messages at QoS 2
	unsure      bool            // the session may be another than the client thinks
	incoming    map[uint16]int  // QoS 2 that was received and not released
	refused     map[uint16]bool // of these, those that are answered with a failure
	everRefused map[int]bool    // messages that may come again, since it may not be known
	unanswered  map[uint16]int  // messages of this connection by identifier
	got         map[int]int     // receipts in this session
	got2        map[int]int     // of these at QoS 2
	fresh       map[int]int     // receipts without DUP, ever
	last        map[string]int  // publisher, topic and QoS -> first receipt of the latest
	answers     [][]byte
}

const (
	endless = 0xFFFFFFFF
	long    = 1_000_000 // seconds, longer than a test lasts
)

func newActor(h *history, i int) *actor {
	a := &actor{
		h: h, id: fmt.Sprint("c", i), v: wire.V5, kept: map[string]bool{}, lasting: h.rand.IntN(4) > 0,
		incoming: map[uint16]int{}, refused: map[uint16]bool{}, everRefused: map[int]bool{}, unanswered: map[uint16]int{}, got: map[int]int{}, got2: map[int]int{}, fresh: map[int]int{},
		last: map[string]int{}, asks: asks{rec: map[uint16]int{}, rel: map[uint16]int{}},
	}
	if h.rand.IntN(3) == 0 {
		a.v = [...]wire.Version{wire.V31, wire.V311}[h.rand.IntN(2)]
	}
	if i%5 >= 3 { // two of five
		a.group = "$share/g/t/+"
		if h.rand.IntN(4) == 0 {
			a.group = "$share/h/t/#"
		}
		a.lasting = a.lasting || !does("vanish")
	}
	return a
}

// sessionSure reports whether the broker has the session for sure.
func (a *actor) sessionSure() bool {
	return a.promised && (a.over == 0 || a.h.now() < a.over)
}

// act does one thing that a client may do.
func (a *actor) act() {
	h := a.h
	r := h.rand
	if a.line == nil {
		if h.step < a.back {
			return
		}
		a.connect((a.group == "" || does("vanish")) && r.IntN(20) == 0)
		return
	}
	ready := a.joined
	if !a.joined && does("early packets") && len(a.open) == 0 && len(a.releases) == 0 && r.IntN(3) == 0 {
		ready, a.sentIn = true, true
	}
	switch n := r.IntN(24); {
	case n == 0, n < 6 && a.waitsInVain():
		a.hangUp()
	case n == 1 && a.joined:
		a.disconnect()
	case n == 2:
		h.log("%s connects a second time", a.id)
		if !a.line.flush() || a.line.closed && !a.joined { // refused, and has not heard of it
			a.unheard()
		}
		if !a.joined { // or this one might be the second in the end
			a.line.hang()
			a.line.move()
		}
		a.leave(true)
		a.connect(false)
	case n == 3 && a.joined:
		a.pings++
		a.send(wire.AppendPingreq(nil))
	case n < 11 && ready:
		a.publish()
	case n < 14 && ready:
		a.subscribe()
	case !h.kind.rows:
		a.answer(1 + r.IntN(3))
	case r.IntN(6) == 0:
		a.answer(len(a.answers))
	}
}

func (a *actor) send(b []byte) {
	if a.line != nil {
		a.line.send(b)
	}
}

// hangUp ends the connection without DISCONNECT.
func (a *actor) hangUp() {
	a.h.log("%s hangs up", a.id)
	a.line.hang()
	if !a.joined {
		a.line.move()
	}
	a.unheard()
	a.leave(true)
}

// disconnect ends the connection in order.
func (a *actor) disconnect() {
	h := a.h
	var ps wire.Properties
	raise := a.expiry > 0 && a.expiry < long && does("raise expiry") && !h.stalled() && h.rand.IntN(2) == 0
	if raise {
		ps = wire.Properties{{ID: wire.SessionExpiry, Value: endless}}
	}
	h.log("%s disconnects, raise %v", a.id, raise)
	a.send(wire.AppendDisconnect(nil, a.v, 0, ps))
	sure := a.line.flush()
	if !sure {
		a.unheard()
	}
	if w := a.will; w != nil {
		if a.will = nil; sure { // else nobody knows what the broker sees first
			w.banned = h.life
		}
	}
	a.raising = raise && sure
	a.leave(true)
	if raise {
		a.came.life = 0 // nobody knows yet what is in force; DISCONNECT may still come
	}
	if a.raising {
		h.settle()
		a.back = h.step + h.rand.IntN(300)
	}
}

// leave ends the connection on the client's side. served tells that the broker
// goes on.
func (a *actor) leave(served bool) {
	h := a.h
	ended := h.now()
	if l := a.line; l != nil && l.closed {
		ended = l.open // the broker has closed it, whether the client has seen that or not
	}
	if w := a.will; w != nil {
		a.will = nil
		if a.joined {
			w.first, w.up, w.at, w.armed = h.step, h.up(), h.now(), true
			h.owe(w)
			w.acked = true
			if !served { // who was connected is not any more
				w.line = nil
				for to, l := range w.due {
					if l == 1 {
						delete(w.due, to)
					}
				}
			}
		}
	}
	if !a.joined {
		a.came.life = 0 // it may have been accepted
		a.expiry = min(a.expiry, a.before)
		for _, l := range h.lines { // nor does one before stay that it should have taken over from
			if l.of == a {
				l.hang()
			}
		}
	}
	a.line, a.joined, a.sentIn, a.answers = nil, false, false, nil
	a.subID, a.unsubID, a.asked, a.pings = 0, 0, nil, 0
	clear(a.unanswered)
	a.disconnected()
	if a.expiry == 0 {
		a.promised = false
		a.forget()
	}
	if a.expiry < long {
		over := ended + time.Duration(a.expiry)*time.Second
		if a.over == 0 || over < a.over {
			a.over = over
		}
	}
}

// crashed is the end of a connection with the broker.
func (a *actor) crashed() {
	if a.line != nil {
		a.unheard()
		a.leave(false)
	}
	a.raising = false
	if c := &a.came; c.stale {
		if c.over != 0 && (a.over == 0 || c.over < a.over) {
			a.over = c.over
		}
		c.stale, c.blanks = false, append(c.blanks, a.h.step)
	}
}

// settled reports whether everything is on disk that the broker has begun.
func (a *actor) settled() {
	if a.raising {
		a.raising, a.over = false, 0
	}
	a.came.stale = false
}

func (a *actor) connect(clean bool) {
	h := a.h
	c := wire.Connect{Version: a.v, ID: a.id}
	a.window = 65535
	rate := 0 // bytes a second that it reads, 0: all at once
	if h.kind.slow && h.rand.IntN(3) == 0 {
		rate = 1 << h.rand.IntN(21)
		if h.kind.memory > 0 {
			rate = 1 << h.rand.IntN(12)
		}
	}
	a.slow = rate > 0
	if a.over != 0 && h.now() >= a.over {
		a.release()
	}
	a.before = a.expiry
	if !a.promised {
		a.before = endless
	}
	switch {
	case a.v == wire.V5:
		a.expiry = 0
		if a.lasting {
			a.expiry = [...]uint32{2, long, endless, endless}[h.rand.IntN(4)]
			if a.group != "" && !does("vanish") {
				a.expiry = endless
			}
		}
		if a.expiry > 0 {
			c.Properties = append(c.Properties, wire.Property{ID: wire.SessionExpiry, Value: a.expiry})
		}
		if h.rand.IntN(2) == 0 {
			a.window = 1 + h.rand.IntN(5)
			c.Properties = append(c.Properties, wire.Property{ID: wire.ReceiveMaximum, Value: uint32(a.window)})
		}
	case a.lasting:
		a.expiry, clean = endless, false // or the session would end with the connection
	default:
		a.expiry, clean = 0, true
	}
	if clean {
		a.wiping, a.promised = true, false
		a.forget()
	}
	c.Clean = a.wiping
	if h.rand.IntN(4) == 0 {
		a.will = a.makeWill(&c)
	}
	a.asks.connect, a.asks.resumes = h.step, a.mayResume(c.Clean)
	a.line = h.dial(a, rate)
	if a.will != nil {
		a.will.line = a.line
	}
	h.log("%s connects, clean %v, expiry %d, reads %d B/s", a.id, c.Clean, a.expiry, rate)
	a.send(c.Append(nil))
}

// makeWill adds a will to a CONNECT.
func (a *actor) makeWill(c *wire.Connect) *sending {
	h := a.h
	s := h.message(a, "w/"+a.id, byte(h.rand.IntN(3)))
	s.will, s.sends = true, 1
	c.Will = &wire.Will{Topic: s.topic, Payload: s.payload(), QoS: s.qos}
	h.log("%s has the will %d QoS %d", a.id, s.n, s.qos)
	return s
}

// message makes a message that was not sent yet.
func (h *history) message(from *actor, topic string, qos byte) *sending {
	s := &sending{
		n: len(h.sent) + 1, from: from, topic: topic, qos: qos, size: 8 + h.rand.IntN(24), first: h.step, life: h.life,
		due: map[*actor]level{}, groupDue: map[string]bool{},
	}
	h.sent = append(h.sent, s)
	return s
}

func (a *actor) takeID() uint16 {
	for {
		a.nextID = a.nextID%50 + 1
		used := a.nextID == a.subID || a.nextID == a.unsubID || slices.Contains(a.releases, a.nextID) ||
			slices.ContainsFunc(a.open, func(s *sending) bool { return s.id == a.nextID })
		if !used {
			return a.nextID
		}
	}
}

// publish publishes a message, or a row of them.
func (a *actor) publish() {
	r := a.h.rand
	n := 1
	if a.h.kind.rows {
		n += r.IntN(4)
	}
	if a.h.kind.memory > 0 {
		n += r.IntN(8)
	}
	for topic, qos := fmt.Sprint("t/", r.IntN(3)), byte(r.IntN(3)); n > 0 && len(a.open) < 4; n-- {
		a.publishTo(topic, qos)
	}
}

// publishTo publishes a message to a topic, unless it becomes one of another kind.
func (a *actor) publishTo(topic string, qos byte) {
	h := a.h
	s := h.message(a, topic, qos)
	switch n := h.rand.IntN(20); {
	case h.kind.large && n < 4, h.kind.memory > 0 && n < 12 && n != 5:
		s.size = 4000 + h.rand.IntN(16_000)
	case h.kind.large && h.kind.memory == 0 && n == 4 && h.rand.IntN(8) == 0:
		s.size = 1<<20 - 1000
	case n == 5:
		s.size, s.topic = 0, fmt.Sprint(s.topic, "/", s.n)
	case n < 9 && !slices.ContainsFunc(a.open, func(s *sending) bool { return s.retain }):
		s.topic, s.retain = fmt.Sprint("r/", a.id, "/", h.rand.IntN(2)), true
		s.qos = byte(1 + h.rand.IntN(2))
		if h.rand.IntN(4) == 0 {
			s.size = 0
		}
	}
	if a.v == wire.V5 && s.size > 0 && h.rand.IntN(5) == 0 {
		s.expiry = [...]uint32{3, 3, 10_000, endless, endless - 5}[h.rand.IntN(5)]
		if s.expiry > long && !does("endless expiry") {
			s.expiry = long
		}
		s.mortal = s.expiry == 3
	}
	if h.kind.retained > 0 && a.v == wire.V5 && s.retain && s.size > 0 && h.rand.IntN(3) > 0 {
		s.expiry, s.mortal = 3, true
	}
	h.owe(s)
	if s.qos > 0 {
		s.id = a.takeID()
		a.open = append(a.open, s)
	}
	h.log("%s publishes %d QoS %d to %s as %d, %d bytes, expiry %d, retain %v", a.id, s.n, s.qos, s.topic, s.id, s.size, s.expiry, s.retain)
	a.sendPublish(s)
}

func (a *actor) sendPublish(s *sending) {
	p := wire.Packet{Dup: s.sends > 0, QoS: s.qos, Retain: s.retain, ID: s.id, Topic: s.topic, Payload: s.payload()}
	if s.expiry > 0 {
		p.Properties = wire.Properties{{ID: wire.MessageExpiry, Value: s.expiry}}
	}
	s.missed = s.missed || s.sends > 0 && (a.h.lacked(s.tried) && s.needsDisk() || s.retain && (a.h.budget.most > 0 || a.h.kind.retained > 0))
	s.tried = a.h.step
	if s.sends++; s.sends == 1 {
		s.at = a.h.now()
	}
	s.line, s.up, s.went = a.line, a.h.up(), a.h.up()
	b := wire.AppendPublish(nil, a.v, &p)
	a.h.largest = max(a.h.largest, len(b)+32) // with what the broker adds
	a.send(b)
}

// subscribe changes what the client listens to.
func (a *actor) subscribe() {
	h := a.h
	if a.subID != 0 || a.unsubID != 0 {
		return
	}
	has := func(filter string) bool {
		return slices.ContainsFunc(a.terms, func(t *term) bool { return t.Name == filter && t.until == 0 })
	}
	filters := [...]string{"t/0", "t/1", "t/+", "t/#", "#", "r/#", "w/#", "+/c1"}
	filter := filters[h.rand.IntN(len(filters))]
	if a.group != "" {
		filter, a.took = a.group, true
	}
	var mine []string
	for _, t := range a.terms {
		if t.until == 0 && !slices.Contains(mine, t.Name) {
			mine = append(mine, t.Name)
		}
	}
	switch {
	case len(mine) > 0 && h.rand.IntN(4) == 0 && (a.group == "" || does("vanish")):
		a.unsubscribe(mine[h.rand.IntN(len(mine))])
		return
	case len(mine) > 0 && !does("requalify"):
		if filter = mine[0]; a.sure(filter) {
			return
		}
	case len(mine) >= 3 || len(mine) > 0 && h.rand.IntN(2) == 0:
		filter = mine[h.rand.IntN(len(mine))]
	}
	t := &term{Filter: wire.Filter{Name: filter, QoS: byte(h.rand.IntN(3))}}
	if a.group != "" {
		t.QoS = byte(1 + h.rand.IntN(2))
	}
	if !does("requalify") && has(filter) { // again, since SUBACK got lost
		for _, old := range a.terms {
			if old.Name == filter && old.until == 0 {
				t.Filter, t.id = old.Filter, old.id
			}
		}
	} else if a.v == wire.V5 && a.group == "" {
		t.NoLocal, t.RetainAsPublished, t.RetainHandling = h.rand.IntN(6) == 0, h.rand.IntN(3) == 0, byte(h.rand.IntN(3))
	}
	a.subID = a.takeID()
	var ps wire.Properties
	if a.v == wire.V5 && h.rand.IntN(3) == 0 {
		t.id = uint32(1 + h.rand.IntN(300))
		ps = wire.Properties{{ID: wire.SubscriptionID, Value: t.id}}
	}
	h.log("%s subscribes to %s QoS %d, no local %v, id %d", a.id, filter, t.QoS, t.NoLocal, t.id)
	a.terms = append(a.terms, t)
	a.asked, a.asks.subscribe = []*term{t}, h.step
	if _, inner := t.group(); a.lasting && t.QoS > 0 && !slices.Contains(h.durable, inner) {
		h.durable = append(h.durable, inner)
	}
	a.changed()
	a.send(wire.AppendSubscribe(nil, a.v, a.subID, ps, t.Filter))
}

func (a *actor) unsubscribe(filter string) {
	a.unsubID = a.takeID()
	a.h.log("%s unsubscribes %s", a.id, filter)
	a.asked, a.asks.unsubscribe = nil, 0
	for _, t := range a.terms {
		if t.Name == filter && t.until == 0 {
			if t.sure && !t.ends { // else there may be nothing to end
				a.asks.unsubscribe = a.h.step
			}
			t.ends = true
			a.asked = append(a.asked, t)
		}
	}
	a.changed()
	a.send(wire.AppendUnsubscribe(nil, a.v, a.unsubID, filter))
}

// answer sends some of the acknowledgements that are due.
func (a *actor) answer(n int) {
	for ; n > 0 && len(a.answers) > 0; n-- {
		b := a.answers[0]
		a.answers = a.answers[1:]
		t, id := wire.Type(b[0]>>4), uint16(b[2])<<8|uint16(b[3])
		switch t {
		case wire.PUBREC:
			a.asks.rec[id] = a.h.step
		case wire.PUBREL:
			a.asks.release(id, a.h.step)
		}
		if t == wire.PUBACK || t == wire.PUBCOMP || t == wire.PUBREC && len(b) > 4 {
			delete(a.unanswered, id)
			if t == wire.PUBREC {
				delete(a.incoming, id) // refused
			}
		}
		a.send(b)
	}
}

// read takes what the broker has sent.
func (a *actor) read() {
	l := a.line
	if l == nil {
		return
	}
	for l == a.line && len(l.out) > 0 {
		v := a.v
		if v == wire.V31 && wire.Type(l.out[0]>>4) == wire.SUBACK {
			v = wire.V311 // 3.1 has no word for a refusal; see packet.Suback
		}
		p, size, err := wire.Read(l.out, v)
		if err != nil {
			a.h.fail("%s got % x: %v", a.id, l.out[:min(len(l.out), 64)], err)
		}
		if size == 0 {
			break
		}
		l.out = l.out[size:]
		a.packet(&p)
	}
	if l == a.line && l.told {
		a.cutOff()
		l.out = nil // half a packet
	}
}

func (a *actor) packet(p *wire.Packet) {
	h := a.h
	if !a.joined && p.Type != wire.CONNACK {
		h.fail("%s: %v before CONNACK", a.id, p.Type)
	}
	switch p.Type {
	case wire.CONNACK:
		a.welcome(p)
	case wire.PUBLISH:
		a.receive(p)
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		a.ack(p)
	case wire.SUBACK:
		a.subscribed(p)
	case wire.UNSUBACK:
		a.unsubscribed(p)
	case wire.PINGRESP:
		if a.pings--; a.pings < 0 {
			h.fail("%s: PINGRESP for nothing", a.id)
		}
	case wire.DISCONNECT:
		if p.Code == 0x97 && h.budget.most > 0 {
			a.cutOff()
			return
		}
		fallthrough
	default:
		h.fail("THROWN OUT: %s got %v 0x%02x %q", a.id, p.Type, p.Code, p.Properties.Get(wire.ReasonString).Text)
	}
}

func (a *actor) subscribed(p *wire.Packet) {
	h := a.h
	h.log("%s: SUBACK % x", a.id, p.Codes)
	if p.ID != a.subID || len(p.Codes) != len(a.asked) {
		h.fail("%s: SUBACK %d with %d codes, sent %d with %d", a.id, p.ID, len(p.Codes), a.subID, len(a.asked))
	}
	for i, t := range a.asked {
		if p.Codes[i] != t.QoS {
			a.notSubscribed(t, p.Codes[i])
			continue
		}
		a.checkTold(p.Type, a.asks.subscribe)
		for _, old := range a.terms {
			if old != t && old.Name == t.Name && old.until == 0 {
				old.until = h.step
			}
		}
		t.sure, t.known = true, h.step
	}
	a.subID, a.asked = 0, nil
}

func (a *actor) unsubscribed(p *wire.Packet) {
	h := a.h
	h.log("%s: UNSUBACK % x", a.id, p.Codes)
	if p.ID != a.unsubID {
		h.fail("%s: UNSUBACK %d, sent %d", a.id, p.ID, a.unsubID)
	}
	a.checkTold(p.Type, a.asks.unsubscribe)
	for _, t := range a.asked {
		t.until = h.step
	}
	a.unsubID, a.asked = 0, nil
}

// welcome is CONNACK: what is not acknowledged is sent again.
func (a *actor) welcome(p *wire.Packet) {
	h := a.h
	present := p.Present
	if a.v == wire.V31 { // it does not say
		present = !a.wiping
	}
	switch {
	case p.Code != 0:
		a.notWelcome(p)
		return
	case (a.will != nil || a.wiping && a.lasting) && h.undone(a.asks.connect):
		h.fail("PROMISED: %s got CONNACK, and what it tells of can't be on disk", a.id)
	case a.sessionSure() && !present:
		h.fail("LOST: the session of %s", a.id)
	case a.wiping && present:
		h.fail("%s asked for a new session and got an old one", a.id)
	}
	h.log("%s: CONNACK, present %v", a.id, p.Present)
	switch {
	case !present && !a.sentIn:
		a.forget()
	case a.over != 0 && h.now() >= a.over:
		a.release()
	}
	a.joined, a.promised, a.wiping = true, true, false
	a.line.welcomed = true
	clear(a.kept)
	a.cameBack()
	a.since, a.over = h.step, 0
	for _, s := range h.sent {
		if s.line == a.line {
			s.up = h.up() // it has waited for CONNACK
		}
	}
	for _, id := range a.releases {
		a.asks.release(id, h.step)
		a.send(wire.AppendAck(nil, a.v, wire.PUBREL, id, 0))
	}
	for _, s := range a.open {
		if s.line != a.line {
			a.sendPublish(s)
		}
	}
}

func (a *actor) ack(p *wire.Packet) {
	h := a.h
	h.log("%s: %v %d 0x%02x", a.id, p.Type, p.ID, p.Code)
	switch p.Type {
	case wire.PUBREL:
		a.checkTold(p.Type, a.asks.rec[p.ID])
		delete(a.incoming, p.ID)
		a.answers = append(a.answers, wire.AppendAck(nil, a.v, wire.PUBCOMP, p.ID, 0))
		return
	case wire.PUBCOMP:
		if i := slices.Index(a.releases, p.ID); i >= 0 {
			a.releases = slices.Delete(a.releases, i, i+1)
			a.checkTold(p.Type, a.asks.rel[p.ID])
		}
		delete(a.asks.rel, p.ID)
		return
	}
	i := slices.IndexFunc(a.open, func(s *sending) bool { return s.id == p.ID })
	if i >= 0 {
		s := a.open[i]
		a.open = slices.Delete(a.open, i, i+1)
		switch {
		case p.Code >= 0x80 && a.notTaken(s, p.Code):
			return
		case p.Code >= 0x80:
			h.fail("REFUSED: message %d of %s: 0x%02x", s.n, a.id, p.Code)
		case p.Code == 0x10 && s.wanted():
			h.fail("message %d of %s is said to have no subscribers: %v", s.n, a.id, s)
		case p.Type == wire.PUBACK && s.qos != 1, p.Type == wire.PUBREC && s.qos != 2:
			h.fail("message %d of %s with QoS %d: %v", s.n, a.id, s.qos, p.Type)
		}
		a.checkPromised(s)
		a.checkAckOrder(s, i)
		s.acked, s.since = true, h.step
		if p.Type == wire.PUBREC {
			a.releases = append(a.releases, p.ID)
		}
	}
	if p.Type == wire.PUBREC && p.Code < 0x80 {
		a.answers = append(a.answers, wire.AppendAck(nil, a.v, wire.PUBREL, p.ID, 0))
	}
}

// retainedFull reports whether there may have been as many retained messages as may
// be when another came: at some time since it was sent.
func (h *history) retainedFull(another *sending) bool {
	live := map[string]bool{}
	for _, s := range h.sent {
		if !s.retain || s.topic == another.topic {
			continue
		}
		ended := s.mortal && s.life >= h.blind && another.went-s.up > time.Duration(s.expiry)*time.Second+slack
		switch {
		case s.size > 0 && !ended:
			live[s.topic] = true
		case s.acked && s.since < another.first:
			delete(live, s.topic)
		}
	}
	return h.kind.retained > 0 && len(live)+1 > h.kind.retained
}
