package session

import (
	"slices"
	"strings"
	"testing"

	"midge/internal/message"
	"midge/internal/packet"
)

// disk is a store as a stored session sees it: what the journal is told is on
// disk at once, except that identifiers count only when the test says so.
// It implements Journal, and fails if the session tells it nonsense.
type disk struct {
	t        *testing.T
	waiting  map[message.Key]restorable // messages, until Finished
	begun    map[message.Key]begun      // QoS 2 exchanges, until Ended
	received map[packet.ID]bool         // from the client
	last     uint64                     // key
	turn     uint64                     // of the last identifier
	written  uint64                     // turns that are on disk
}

type restorable struct {
	text string
	qos  packet.QoS
}

type begun struct {
	id       packet.ID
	turn     uint64
	released bool
}

func newDisk(t *testing.T) *disk {
	return &disk{t: t, waiting: map[message.Key]restorable{}, begun: map[message.Key]begun{}, received: map[packet.ID]bool{}}
}

// store writes a message, as the broker does before Deliver.
func (d *disk) store(text string, qos packet.QoS) message.Key {
	d.last++
	k := message.NewKey(d.last, 0)
	d.waiting[k] = restorable{text, qos}
	return k
}

func (d *disk) load(k message.Key) *message.Message {
	w, ok := d.waiting[k]
	if !ok {
		d.t.Fatalf("message %d is wanted, and not on disk", k.Seq())
	}
	return &message.Message{Topic: []byte("t"), Payload: []byte(w.text), QoS: w.qos}
}

// published checks a PUBLISH of QoS 2: its identifier must be on disk.
func (d *disk) published(m *packet.Publish) {
	if m.QoS != 2 {
		return
	}
	for k, b := range d.begun {
		if b.id == m.ID && !b.released {
			if b.turn > d.written {
				d.t.Fatalf("identifier %d was sent before it was on disk", m.ID)
			}
			if got := string(m.Payload); got != d.waiting[k].text {
				d.t.Fatalf("identifier %d was written for %s and sent with %s", m.ID, d.waiting[k].text, got)
			}
			return
		}
	}
	d.t.Fatalf("identifier %d was never written", m.ID)
}

func (d *disk) Finish(_ uint64, m message.Stored) {
	if _, ok := d.waiting[m.Key]; !ok {
		d.t.Fatalf("message %d finished twice", m.Key.Seq())
	}
	delete(d.waiting, m.Key)
}

func (d *disk) Begin(_ uint64, k message.Key, id packet.ID) uint64 {
	if w := d.waiting[k]; w.qos != 2 {
		d.t.Fatalf("message %d of QoS %d began", k.Seq(), w.qos)
	}
	if _, ok := d.begun[k]; ok {
		d.t.Fatalf("message %d began twice", k.Seq())
	}
	d.turn++
	d.begun[k] = begun{id: id, turn: d.turn}
	return d.turn
}

func (d *disk) AwaitPubcomp(_ uint64, k message.Key, id packet.ID) {
	b, ok := d.begun[k]
	if !ok || b.id != id || b.released {
		d.t.Fatalf("message %d released as %d, it was %+v", k.Seq(), id, b)
	}
	b.released = true
	d.begun[k] = b
}

func (d *disk) End(_ uint64, k message.Key) {
	if _, ok := d.begun[k]; !ok {
		d.t.Fatalf("message %d ended, and had not begun", k.Seq())
	}
	delete(d.begun, k)
}

func (d *disk) Forget(_ uint64, id packet.ID, _ bool) {
	if !d.received[id] {
		d.t.Fatalf("identifier %d forgotten, and was not received", id)
	}
	delete(d.received, id)
}

// crash returns the session as a start finds it.
func (d *disk) crash(cfg *Config) Session {
	s := New(cfg, 1)
	var keys []message.Key
	for k, b := range d.begun {
		if _, ok := d.waiting[k]; !ok && !b.released {
			d.t.Fatalf("exchange %d is open, and its message gone", b.id)
		}
		keys = append(keys, k)
	}
	for k := range d.waiting {
		if _, ok := d.begun[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		b := d.begun[k]
		if b.released {
			continue
		}
		if b.turn > d.written { // the crash came before
			delete(d.begun, k)
			b = begun{}
		}
		w := d.waiting[k]
		s.Restore(Restored{Stored: message.Stored{Key: k, Size: 1 + len(w.text), Sole: true}, QoS: w.qos, ID: b.id})
	}
	for _, k := range keys {
		if b := d.begun[k]; b.released {
			s.Restore(Restored{Stored: message.Stored{Key: k}, QoS: 2, ID: b.id, AwaitsPubcomp: true})
		}
	}
	for id := range d.received {
		s.RestoreReceived(id)
	}
	d.written = d.turn
	return s
}

// FuzzStoredSession is FuzzSession for a session that is stored: contents have
// to be read, identifiers wait for the disk, and now and then the broker
// crashes and goes on from there.
func FuzzStoredSession(f *testing.F) {
	f.Add([]byte{1, 2, 1, 2, 3, 12, 13, 3, 3, 3, 3, 15, 5, 12, 13, 3, 3, 3}, true)
	f.Add([]byte{2, 2, 12, 3, 15, 21, 13, 3, 2, 12, 4, 1, 1, 2, 15, 53, 13, 13, 3, 3, 12, 3}, false)
	f.Add([]byte{4, 1, 2, 1, 2, 1, 2, 21, 13, 12, 14, 13, 3, 3, 3}, true)
	f.Add([]byte{10, 42, 26, 25, 15, 5, 42, 9, 25, 41, 57}, true)
	f.Fuzz(func(t *testing.T, ops []byte, v5 bool) {
		d := newDisk(t)
		cfg := &Config{
			Offer: &Offer{ReceiveMaximum: 4, TopicAliasMaximum: 2}, MaxInflight: 4, AliasesOut: 2, QueueMessages: 1, QueueBytes: 1,
			StoredMessages: 6, StoredBytes: 1 << 10, Journal: d, PendingBytes: 64,
		}
		s := New(cfg, 1)
		p := &peer{
			t: t, v: packet.V311, cfg: cfg, s: &s, seen: map[string]int{}, old: map[string]bool{},
			qos: map[packet.ID]uint8{}, text: map[packet.ID]string{}, recd: map[packet.ID]bool{}, exactly: map[string]bool{}, kept: d,
		}
		if v5 {
			p.v = packet.V5
		}
		for _, op := range ops[:min(len(ops), 1000)] {
			p.stored(op)
			if s.Queued() > cfg.StoredMessages+int(cfg.MaxInflight) || s.Inflight() > int(cfg.MaxInflight) {
				t.Fatalf("%d waiting, %d under way", s.Queued(), s.Inflight())
			}
		}
		p.finishStored()
	})
}

// stored does one thing.
func (p *peer) stored(op byte) {
	arg := int(op >> 4)
	d := p.kept
	switch op &= 15; {
	case op <= 2:
		p.deliver(packet.QoS(op), 0)
	case op == 4:
		p.leave()
	case op == 5 && p.s.Link == nil:
		p.join(1+arg%5, 0)
	case op == 15:
		p.crash()
	case op == 12:
		d.written += min(uint64(1+arg), d.turn-d.written)
		p.s.Committed(d.written)
		p.pump()
	case p.s.Link == nil:
	case op == 3, op == 6, op == 7, op == 8:
		p.answer(arg, 0)
	case op == 9: // PUBREL
		id := packet.ID(1 + arg%4)
		had := d.received[id]
		out, _ := p.s.acked(ack(packet.PUBREL, id, 0), 0)
		if d.received[id] || had != (len(show(p.t, p.v, out)) == 1 && !strings.Contains(show(p.t, p.v, out)[0], "0x92")) && p.v == packet.V5 {
			p.t.Fatalf("PUBREL %d, received %v: %q", id, had, show(p.t, p.v, out))
		}
	case op == 10: // a PUBLISH of QoS 2
		m := packet.Publish{QoS: 2, ID: packet.ID(1 + arg%4), Topic: []byte("t")}
		in, err := p.s.Receive(&m)
		if err != nil {
			return // over the quota
		}
		if in.Duplicate != d.received[m.ID] {
			p.t.Fatalf("PUBLISH %d: duplicate %v, on disk %v", m.ID, in.Duplicate, d.received[m.ID])
		}
		d.received[m.ID] = true
		p.read(p.s.Acknowledge(nil, m.ID, 2, 0))
	case op == 11, op == 13:
		p.supply(arg)
	case op == 14:
		p.lose(arg)
	}
}

func (p *peer) pump() {
	if p.s.Link != nil {
		out, _ := p.s.Pump(nil, plenty, 0)
		p.read(out)
	}
}

// supply reads what the session wants, or only some of it.
func (p *peer) supply(most int) {
	for i, w := range p.s.Wanted(nil) {
		if most > 0 && i >= most {
			break
		}
		p.s.Supply(w.Key, p.kept.load(w.Key))
	}
	p.pump()
}

// lose lets the reading of a message fail. Nobody expects it any more.
func (p *peer) lose(i int) {
	wanted := p.s.Wanted(nil)
	if len(wanted) == 0 {
		return
	}
	k := wanted[i%len(wanted)].Key
	text := p.kept.waiting[k].text
	p.s.Lost(k)
	if _, ok := p.kept.waiting[k]; ok {
		p.t.Fatalf("%s is lost, and the journal was not told", text)
	}
	if p.seen[text] == 0 {
		p.accepted = slices.DeleteFunc(p.accepted, func(a string) bool { return a == text })
	}
	p.pump()
}

func (p *peer) crash() {
	p.leave()
	for text := range p.seen {
		p.old[text] = true
	}
	*p.s = p.kept.crash(p.cfg)
}

// finishStored lets the client fetch everything, and compares: the messages of
// a QoS keep their order, and nothing is left on disk.
func (p *peer) finishStored() {
	if p.s.Link == nil {
		p.join(5, 0)
	}
	for range 4 * (len(p.accepted) + 4) {
		p.stored(0xfc) // written
		p.supply(0)
		p.answer(0, 0)
	}
	of := func(list []string, exactly bool) (only []string) {
		for _, text := range list {
			if p.exactly[text] == exactly {
				only = append(only, text)
			}
		}
		return only
	}
	for _, exactly := range []bool{false, true} {
		if got, want := of(p.got, exactly), of(p.accepted, exactly); !slices.Equal(got, want) {
			p.t.Fatalf("QoS 2 %v: accepted %v, received %v", exactly, want, got)
		}
	}
	if p.s.Queued()+p.s.Inflight() != 0 || len(p.kept.waiting)+len(p.kept.begun) != 0 {
		p.t.Fatalf("%d waiting and %d under way after everything was acknowledged, on disk %v, %v", p.s.Queued(), p.s.Inflight(), p.kept.waiting, p.kept.begun)
	}
	if p.s.Wanted(nil) != nil {
		p.t.Fatal("something is wanted, and nothing waits")
	}
}
