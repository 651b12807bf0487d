package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// TestGroupModel plays a group of members that come and go in all ways, with
// windows of different sizes, Maximum Packet Sizes and acknowledgements that
// are late, on a store that is late, over crashes. One lasting member never
// leaves the group. So each message that was acknowledged reaches a member, and
// one of QoS 2 never reaches two (MQTT-4.8.2-5).
func TestGroupModel(t *testing.T) {
	for _, strategy := range []string{settings.RoundRobin, settings.Sticky, settings.LeastInflight} {
		for _, durable := range []bool{false, true} {
			for _, shards := range []int{1, 3} {
				for seed := range uint64(8) {
					t.Run(fmt.Sprintf("strategy=%s/durable=%v/shards=%d/seed=%d", strategy, durable, shards, seed), func(t *testing.T) {
						g := &groupModel{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(shards))), durable: durable, got: map[string]*arrival{}}
						g.cfg = quietly(shards)
						g.cfg.Session.SharedStrategy = strategy
						if seed%4 == 3 {
							g.cfg.Session.SharedQueue = settings.WithMember
						}
						g.run()
					})
				}
			}
		}
	}
}

type groupModel struct {
	t       *testing.T
	rnd     *rand.Rand
	cfg     setup
	durable bool
	backend store.Backend
	w       *world
	st      *store.Store
	members []*shareMember
	pubs    []*sharePublisher
	sent    int
	acked   []string
	got     map[string]*arrival // by payload
	crashes int
	mixed   bool // some members are not on disk
}

// arrival is what came of a message.
type arrival struct {
	times   int
	done    bool      // released
	session string    // of the last that got it
	id      packet.ID // with QoS 2, in that session
}

type shareMember struct {
	g       *groupModel
	id      string
	p       *peer // nil: not connected
	joined  bool  // CONNACK has come
	old     *peer // the connection before, which p takes over; nil if it has ended
	lasting bool
	anchor  bool // never leaves
	qos     packet.QoS
	most    uint32
	window  uint16
	epoch   int // of its session
	unacked []packet.Publish
	rec     map[packet.ID]*arrival // QoS 2 that it has and was not released
}

type sharePublisher struct {
	g       *groupModel
	id      string
	p       *peer
	next    packet.ID
	waiting map[packet.ID]string
}

func (g *groupModel) begin() {
	if !g.durable {
		if g.w == nil {
			g.w = newWorld(g.t, g.cfg)
		}
		return
	}
	g.w, g.st = onShards(g.t, g.backend, g.cfg, false)
}

func (g *groupModel) finish() {
	for range 4 {
		if g.st != nil {
			g.st.Step()
			g.st.StepReads()
		}
		g.w.turn()
	}
}

func (g *groupModel) run() {
	g.backend = memstore.New()
	g.begin()
	all := g.durable && g.rnd.IntN(2) == 0
	for i := range 6 {
		m := &shareMember{g: g, id: fmt.Sprint("member", i), lasting: i < 3 || all, anchor: i == 0, qos: 1, window: uint16(1 + g.rnd.IntN(8))}
		g.mixed = g.mixed || !m.lasting
		m.rec = map[packet.ID]*arrival{}
		if i == 1 || i == 4 {
			m.most = 200
		}
		if i == 2 || i == 5 {
			m.qos = 2
		}
		g.members = append(g.members, m)
	}
	for i := range 2 {
		g.pubs = append(g.pubs, &sharePublisher{g: g, id: fmt.Sprint("pub", i)})
	}
	g.members[0].connect(true)
	g.finish()
	for range 1500 {
		g.act()
	}
	for _, m := range g.members {
		if m.p == nil {
			m.connect(false)
		}
	}
	for range 2000 { // with a window of 1 each message takes several
		g.w.now += tick // who takes a client id over may have to wait
		g.finish()
		for _, m := range g.members {
			m.read()
			for len(m.unacked) > 0 {
				m.ack(0)
			}
		}
		for _, p := range g.pubs {
			p.read()
		}
	}
	for _, name := range g.acked {
		if g.got[name] == nil && !(g.mixed && g.crashes > 0) { // a member that is not on disk may have had it
			g.t.Errorf("message %s was acknowledged and is lost", name)
		}
	}
	c := g.w.b.Counters()
	if c.DroppedGroup+c.DroppedSize+c.DroppedQueue+c.DroppedDamaged > 0 && g.cfg.Session.SharedQueue == settings.WithGroup {
		g.t.Errorf("dropped: %d group, %d size, %d queue, %d damaged", c.DroppedGroup, c.DroppedSize, c.DroppedQueue, c.DroppedDamaged)
	}
	if g.durable && c.Stored != 0 {
		g.t.Errorf("%d messages are still stored", c.Stored)
	}
	if len(g.acked) < 100 {
		g.t.Errorf("only %d messages were acknowledged", len(g.acked))
	}
}

func (g *groupModel) act() {
	m := g.members[g.rnd.IntN(len(g.members))]
	switch n := g.rnd.IntN(100); {
	case n < 25:
		g.pubs[g.rnd.IntN(len(g.pubs))].publish()
	case n < 55:
		g.w.now += tick
		stirred(g.rnd, g.w, g.st)
		for _, p := range g.pubs {
			p.read()
		}
	case n < 75:
		m.read()
	case n < 90:
		if len(m.unacked) > 0 {
			m.ack(g.rnd.IntN(len(m.unacked)))
		}
	case n < 94 && m.p == nil:
		m.connect(false)
	case n < 95 && !m.anchor && (m.p == nil || m.joined):
		m.connect(true) // takes over, and ends the session
	case n < 97 && m.p != nil && m.joined:
		m.end(g.rnd.IntN(2) == 0)
	case n < 98 && m.p != nil && !m.anchor:
		m.p.offerOnly((&packet.Unsubscribe{ID: 3, Filters: [][]byte{[]byte("$share/g/t")}}).Append(nil, packet.V5))
	case n == 99 && g.durable && g.rnd.IntN(10) == 0:
		g.crash()
	}
}

func (g *groupModel) crash() {
	g.crashes++
	for _, m := range g.members {
		m.p, m.old, m.unacked = nil, nil, nil
		if !m.lasting {
			m.epoch++
		}
	}
	for _, p := range g.pubs {
		p.p = nil
	}
	g.begin()
}

func (m *shareMember) connect(clean bool) {
	g := m.g
	m.drain()
	c := packet.Connect{Version: packet.V5, ClientID: []byte(m.id), CleanStart: clean || !m.lasting}
	if m.lasting {
		expires(1 << 20)(&c)
	}
	c.Properties.ReceiveMaximum = m.window
	c.Properties.Set(packet.PropReceiveMaximum)
	if m.most != 0 {
		c.Properties.MaximumPacketSize = m.most
		c.Properties.Set(packet.PropMaximumPacketSize)
	}
	m.unacked = nil
	m.old, m.p, m.joined = m.p, g.w.dial(packet.V5), false
	m.p.offerOnly(c.Append(nil))
	s := packet.Subscription{Filter: []byte("$share/g/t"), QoS: m.qos}
	m.p.offerOnly((&packet.Subscribe{ID: 2, Subscriptions: []packet.Subscription{s}}).Append(nil, packet.V5))
}

func (m *shareMember) end(inOrder bool) {
	m.drain()
	if inOrder {
		m.p.offerOnly((&packet.Disconnect{}).Append(nil, packet.V5))
	} else {
		m.p.closed = true
	}
	m.p, m.unacked = nil, nil
	m.g.w.settle()
}

// drain reads all that is under way on the connection.
func (m *shareMember) drain() {
	for m.p != nil {
		m.p.write()
		if len(m.p.out) == 0 {
			return
		}
		m.read()
	}
}

func (m *shareMember) session() string { return fmt.Sprint(m.id, "/", m.epoch) }

// read takes what has come: over the connection before, which ends some time after
// the new one has begun, without an answer.
func (m *shareMember) read() {
	if m.old != nil {
		m.old.write()
	}
	m.readFrom(m.old)
	m.readFrom(m.p)
	if m.joined {
		m.old = nil
	}
}

func (m *shareMember) readFrom(from *peer) {
	for from != nil {
		first, body, size, _ := packet.Split(from.out, packet.MaxSize)
		if size == 0 {
			break
		}
		body = append([]byte(nil), body...)
		from.out = from.out[size:]
		if from == m.old && packet.TypeOf(first) != packet.PUBLISH {
			continue
		}
		switch packet.TypeOf(first) {
		case packet.CONNACK:
			m.joined = true
			if body[0] == 0 { // no session
				m.epoch++
				m.rec = map[packet.ID]*arrival{}
			}
		case packet.PUBLISH:
			var p packet.Publish
			if err := p.Decode(packet.V5, first, body); err != nil {
				m.g.t.Fatal(err)
			}
			if m.most != 0 && size > int(m.most) {
				m.g.t.Errorf("%s got a packet of %d bytes", m.id, size)
			}
			if len(m.unacked) > int(m.window) {
				m.g.t.Errorf("%s has %d messages under way, over its Receive Maximum", m.id, len(m.unacked))
			}
			switch has := m.g.got[strings.TrimRight(string(p.Payload), ".")]; {
			case from == m.p:
				m.receive(&p)
				m.unacked = append(m.unacked, p)
			case p.QoS == 2 || has == nil:
				m.receive(&p)
			default: // of QoS 1, and another member may have got it since
			}
		case packet.PUBREL:
			var a packet.Ack
			if err := a.Decode(packet.V5, first, body); err != nil {
				m.g.t.Fatal(err)
			}
			if has := m.rec[a.ID]; has != nil {
				has.done = true
				delete(m.rec, a.ID)
			}
			m.p.offerOnly((&packet.Ack{Type: packet.PUBCOMP, ID: a.ID}).Append(nil, packet.V5))
		case packet.DISCONNECT:
			m.g.t.Errorf("%s was disconnected: %x", m.id, body)
		}
	}
}

func (m *shareMember) receive(p *packet.Publish) {
	g, name := m.g, strings.TrimRight(string(p.Payload), ".")
	a := g.got[name]
	if a == nil {
		a = &arrival{}
		g.got[name] = a
	}
	if a.id != 0 {
		same := a.session == m.session() && a.id == p.ID && p.Dup && !a.done
		// A crash may bring back what members had that are not on disk.
		if !same && !(g.mixed && g.crashes > 0) {
			g.t.Errorf("message %s of QoS 2 came to %s, and again to %s", name, a.session, m.session())
		}
	}
	a.times++
	a.session = m.session()
	if a.id = 0; p.QoS == 2 {
		a.id = p.ID
		m.rec[p.ID] = a
	}
}

func (m *shareMember) ack(i int) {
	p := m.unacked[i]
	m.unacked = append(m.unacked[:i], m.unacked[i+1:]...)
	if m.p == nil {
		return
	}
	t := packet.PUBACK
	if p.QoS == 2 {
		t = packet.PUBREC
	}
	m.p.offerOnly((&packet.Ack{Type: t, ID: p.ID}).Append(nil, packet.V5))
}

func (p *sharePublisher) publish() {
	if p.p == nil {
		p.waiting = map[packet.ID]string{}
		p.p = p.g.w.dial(packet.V5)
		p.p.offerOnly((&packet.Connect{Version: packet.V5, ClientID: []byte(p.id), CleanStart: true}).Append(nil))
	}
	if p.next++; p.next == 0 {
		p.next = 1
	}
	name := fmt.Sprint(p.g.sent)
	p.g.sent++
	m := packet.Publish{Topic: []byte("t"), Payload: []byte(name), QoS: packet.QoS(1 + p.g.rnd.IntN(2)), ID: p.next}
	if p.g.rnd.IntN(5) == 0 {
		m.Payload = append(m.Payload, strings.Repeat(".", 300)...)
	}
	p.waiting[m.ID] = name
	p.p.offerOnly(m.Append(nil, packet.V5))
}

func (p *sharePublisher) read() {
	for p.p != nil {
		first, body, size, _ := packet.Split(p.p.out, packet.MaxSize)
		if size == 0 {
			return
		}
		body = append([]byte(nil), body...)
		p.p.out = p.p.out[size:]
		switch packet.TypeOf(first) {
		case packet.PUBACK, packet.PUBREC:
			var a packet.Ack
			if err := a.Decode(packet.V5, first, body); err != nil {
				p.g.t.Fatal(err)
			}
			if !a.Code.Failed() {
				p.g.acked = append(p.g.acked, p.waiting[a.ID])
				delete(p.waiting, a.ID)
			}
			if packet.TypeOf(first) == packet.PUBREC {
				p.p.offerOnly((&packet.Ack{Type: packet.PUBREL, ID: a.ID}).Append(nil, packet.V5))
			}
		}
	}
}
