package session

import (
	"fmt"
	"testing"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// peer is a client that follows the standard, or now and then does not, and
// remembers everything: the model that the session is compared with.
type peer struct {
	t        *testing.T
	v        packet.Version
	s        *Session
	cfg      *Config
	accepted []string             // QoS 1 and 2 messages that the session took, in order
	got      []string             // first receipts of QoS 1 and 2 messages, in order
	seen     map[string]int       // receipts of the application, by text
	open     []packet.ID          // PUBLISH that are not acknowledged, in order of arrival
	qos      map[packet.ID]uint8  // of open exchanges
	text     map[packet.ID]string // of open exchanges
	rel      []packet.ID          // PUBREL that are not answered
	recd     map[packet.ID]bool   // QoS 2 that was received and not completed
	exactly  map[string]bool      // texts that came at QoS 2
	window   int
	next     int
	old      map[string]bool // received before the broker crashed: it may not know
	kept     *disk           // of a stored session, else nil
}

// read takes what the session sent.
func (p *peer) read(out []byte) {
	for len(out) > 0 {
		first, body, size, err := packet.Split(out, packet.MaxSize)
		if err != nil || size == 0 {
			p.t.Fatalf("output % x is not whole packets", out)
		}
		out = out[size:]
		switch packet.TypeOf(first) {
		case packet.PUBLISH:
			var m packet.Publish
			if err := m.Decode(p.v, first, body); err != nil {
				p.t.Fatal(err)
			}
			if m.QoS > 0 {
				p.publish(&m)
			}
		case packet.PUBREL:
			var a packet.Ack
			if err := a.Decode(p.v, first, body); err != nil {
				p.t.Fatal(err)
			}
			if a.Code == 0 {
				p.rel = append(p.rel, a.ID)
			}
		}
	}
	if len(p.qos) > p.window {
		p.t.Fatalf("%d exchanges under way, the window is %d (MQTT-3.3.4-9)", len(p.qos), p.window)
	}
}

func (p *peer) publish(m *packet.Publish) {
	text := string(m.Payload)
	if _, used := p.qos[m.ID]; used {
		p.t.Fatalf("identifier %d given to %s while in use (MQTT-2.2.1-4)", m.ID, text)
	}
	if p.seen[text] > 0 && !m.Dup && !(m.QoS == 1 && p.old[text]) {
		p.t.Fatalf("%s again without DUP", text)
	}
	if m.QoS == 1 || !p.recd[m.ID] {
		if p.seen[text]++; p.seen[text] == 1 {
			p.got = append(p.got, text)
		} else if m.QoS == 2 {
			p.t.Fatalf("QoS 2 message %s twice (MQTT-4.3.3-10)", text)
		}
		if m.QoS == 2 {
			p.recd[m.ID] = true
			p.exactly[text] = true
		}
	}
	if p.kept != nil {
		p.kept.published(m)
	}
	p.open = append(p.open, m.ID)
	p.qos[m.ID] = uint8(m.QoS)
	p.text[m.ID] = text
}

// answer acknowledges the i-th open exchange.
func (p *peer) answer(i int, now time.Duration) {
	if len(p.rel) > 0 {
		id := p.rel[i%len(p.rel)]
		p.rel = append(p.rel[:i%len(p.rel)], p.rel[i%len(p.rel)+1:]...)
		delete(p.recd, id)
		delete(p.qos, id)
		out, _ := p.s.acked(ack(packet.PUBCOMP, id, 0), now)
		p.read(out)
		return
	}
	if len(p.open) == 0 {
		return
	}
	i %= len(p.open)
	id := p.open[i]
	p.open = append(p.open[:i], p.open[i+1:]...)
	t := packet.PUBREC
	if p.qos[id] == 1 {
		t = packet.PUBACK
		delete(p.qos, id)
	}
	out, _ := p.s.acked(ack(t, id, 0), now)
	p.read(out)
}

func (p *peer) leave() {
	p.s.Detach()
	p.open, p.rel = nil, nil
	clear(p.qos)
}

func (p *peer) join(window int, now time.Duration) {
	p.window = min(window, int(p.cfg.MaxInflight))
	p.s.Attach(linkOf(p.cfg, p.v, uint16(window)))
	if p.v != packet.V5 {
		p.window = int(p.cfg.MaxInflight)
	}
	out, _ := p.s.Pump(p.s.Resume(nil), plenty, now)
	p.read(out)
}

// FuzzSession runs random sequences of deliveries, acknowledgements (also of
// what was never sent), lost connections and time against the model.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, true)
	f.Add([]byte{1, 1, 1, 1, 1, 1, 4, 5, 3, 3, 3, 20, 36, 3, 3, 3, 3, 3}, false)
	f.Add([]byte{2, 2, 2, 3, 4, 5, 3, 4, 21, 3, 3, 2, 2, 4, 53}, true)
	f.Fuzz(func(t *testing.T, ops []byte, v5 bool) {
		cfg := &Config{Offer: &Offer{ReceiveMaximum: 4, TopicAliasMaximum: 2}, MaxInflight: 4, AliasesOut: 2, QueueMessages: 6, QueueBytes: 1 << 10}
		s := New(cfg, 0)
		p := &peer{
			t: t, v: packet.V311, cfg: cfg, s: &s, seen: map[string]int{},
			qos: map[packet.ID]uint8{}, text: map[packet.ID]string{}, recd: map[packet.ID]bool{}, exactly: map[string]bool{},
		}
		if v5 {
			p.v = packet.V5
		}
		var now time.Duration
		for i, op := range ops {
			arg := int(op >> 4)
			switch op & 15 {
			case 0, 1, 2:
				p.deliver(packet.QoS(op&3), now)
			case 3, 6, 7, 8:
				if p.s.Link != nil {
					p.answer(arg, now)
				}
			case 4:
				p.leave()
			case 5:
				if p.s.Link == nil {
					p.join(1+arg%5, now)
				}
			case 9: // acknowledgements out of the blue
				if p.s.Link != nil {
					types := [...]packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP}
					out, _ := p.s.acked(ack(types[arg%4], packet.ID(60000+arg), 0), now)
					if got := show(t, p.v, out); len(got) > 1 {
						t.Fatalf("step %d: %q for an unknown identifier", i, got)
					}
				}
			case 10: // a PUBLISH of the client, repeated
				if p.s.Link != nil {
					m := packet.Publish{QoS: packet.QoS(arg % 3), ID: packet.ID(1 + arg%4), Topic: []byte("t")}
					if _, err := p.s.Receive(&m); err == nil && m.QoS > 0 {
						p.read(p.s.Acknowledge(nil, m.ID, m.QoS, 0))
					}
				}
			case 11:
				now += time.Duration(arg) * time.Second
			}
			if p.s.Queued() > cfg.QueueMessages || p.s.Inflight() > int(cfg.MaxInflight) {
				t.Fatalf("step %d: %d waiting, %d under way", i, p.s.Queued(), p.s.Inflight())
			}
		}
		p.finish(now)
	})
}

func (p *peer) deliver(qos packet.QoS, now time.Duration) {
	p.next++
	text := fmt.Sprint("m", p.next)
	d := Delivery{Message: &Cloner{Borrowed: &message.Message{Topic: []byte("t"), Payload: []byte(text), QoS: qos}}, QoS: qos}
	if p.kept != nil && qos > 0 {
		d.Key, d.Sole = p.kept.store(text, qos), true
	}
	out, o, _ := p.s.Deliver(nil, d, now)
	if qos > 0 && !o.Dropped() {
		p.accepted = append(p.accepted, text)
	}
	p.read(out)
}

// finish lets the client fetch everything, and compares.
func (p *peer) finish(now time.Duration) {
	if p.s.Link == nil {
		p.join(5, now)
	}
	for range 4 * (len(p.accepted) + 4) {
		p.answer(0, now)
	}
	if fmt.Sprint(p.got) != fmt.Sprint(p.accepted) {
		p.t.Fatalf("accepted %v, received %v", p.accepted, p.got)
	}
	if p.s.Queued()+p.s.Inflight() != 0 {
		p.t.Fatalf("%d waiting and %d under way after everything was acknowledged", p.s.Queued(), p.s.Inflight())
	}
}
