package session

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

func testConfig() *Config {
	return &Config{Offer: &Offer{ReceiveMaximum: 3, TopicAliasMaximum: 2}, MaxInflight: 4, AliasesOut: 2, QueueMessages: 5, QueueBytes: 1 << 20, PendingBytes: 1 << 20}
}

// online returns a session whose client has connected with Receive Maximum n.
func online(cfg *Config, v packet.Version, n uint16) *Session {
	s := New(cfg, 0)
	s.Attach(linkOf(cfg, v, n))
	return &s
}

func linkOf(cfg *Config, v packet.Version, n uint16) *Link {
	c := packet.Connect{Version: v}
	if v == packet.V5 {
		c.Properties.ReceiveMaximum = n
		c.Properties.Set(packet.PropReceiveMaximum)
	}
	return NewLink(&c, cfg, 0)
}

func delivery(qos packet.QoS, text string) Delivery {
	return Delivery{Message: &Cloner{Borrowed: &message.Message{Topic: []byte("t"), Payload: []byte(text), QoS: qos}}, QoS: qos}
}

func (s *Session) deliver(t *testing.T, qos packet.QoS, text string, want Outcome) []byte {
	t.Helper()
	out, o, _ := s.Deliver(nil, delivery(qos, text), 0)
	if o != want {
		t.Fatalf("Deliver(QoS %d, %s) = outcome %d, want %d", qos, text, o, want)
	}
	return out
}

// show writes packets as text: "PUBLISH 1 q1 dup a".
func show(t *testing.T, v packet.Version, b []byte) (list []string) {
	t.Helper()
	for len(b) > 0 {
		first, body, size, err := packet.Split(b, packet.MaxSize)
		if err != nil || size == 0 {
			t.Fatalf("output % x is not whole packets: %v", b, err)
		}
		b = b[size:]
		if packet.TypeOf(first) == packet.PUBLISH {
			var p packet.Publish
			if err := p.Decode(v, first, body); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("PUBLISH %d q%d %s", p.ID, p.QoS, p.Payload)
			if p.Dup {
				text += " dup"
			}
			list = append(list, text)
			continue
		}
		var a packet.Ack
		if err := a.Decode(v, first, body); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%v %d", a.Type, a.ID)
		if a.Code != 0 {
			text += fmt.Sprintf(" %#x", uint8(a.Code))
		}
		list = append(list, text)
	}
	return list
}

func expect(t *testing.T, v packet.Version, out []byte, want ...string) {
	t.Helper()
	if got := show(t, v, out); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// plenty is room for everything.
const plenty = 1 << 30

// acked takes an acknowledgement, and pumps as the broker does. One that is wrong
// must change nothing.
func (s *Session) acked(p *packet.Ack, now time.Duration) ([]byte, Drops) {
	out, _ := s.Ack(nil, p)
	return s.Pump(out, plenty, now)
}

func ack(t packet.Type, id packet.ID, code packet.ReasonCode) *packet.Ack {
	return &packet.Ack{Type: t, ID: id, Code: code}
}

func TestOutbound(t *testing.T) {
	const v = packet.V5
	t.Run("v5/MQTT-3.3.4-9/window of the client", func(t *testing.T) {
		s := online(testConfig(), v, 2)
		s.deliver(t, 1, "a", Sent)
		s.deliver(t, 2, "b", Sent)
		if out := s.deliver(t, 1, "c", Queued); len(out) > 0 {
			t.Errorf("sent %q beyond the receive maximum", show(t, v, out))
		}
		expect(t, v, s.deliver(t, 0, "q0", Sent), "PUBLISH 0 q0 q0")
		out, _ := s.acked(ack(packet.PUBREC, 2, 0), 0)
		expect(t, v, out, "PUBREL 2")
		out, _ = s.acked(ack(packet.PUBCOMP, 2, 0), 0)
		expect(t, v, out, "PUBLISH 3 q1 c")
	})
	t.Run("v5/MQTT-4.3.3-4/PUBREC with failure ends the exchange", func(t *testing.T) {
		s := online(testConfig(), v, 1)
		s.deliver(t, 2, "a", Sent)
		s.deliver(t, 2, "b", Queued)
		out, _ := s.acked(ack(packet.PUBREC, 1, packet.QuotaExceeded), 0)
		expect(t, v, out, "PUBLISH 2 q2 b")
	})
	t.Run("v5/MQTT-4.4.0-1/again in order on resumption", func(t *testing.T) {
		cfg := testConfig()
		s := online(cfg, v, 10)
		s.deliver(t, 1, "a", Sent)
		s.deliver(t, 2, "b", Sent)
		s.deliver(t, 2, "c", Sent)
		s.acked(ack(packet.PUBREC, 2, 0), 0)
		s.Detach()
		s.deliver(t, 1, "d", Queued)
		s.deliver(t, 0, "e", Away)
		s.Attach(linkOf(cfg, v, 10))
		out, _ := s.Pump(s.Resume(nil), plenty, 0)
		expect(t, v, out, "PUBREL 2", "PUBLISH 1 q1 a dup", "PUBLISH 3 q2 c dup", "PUBLISH 4 q1 d")
	})
	t.Run("v5/MQTT-4.4.0-1/no more than the new receive maximum", func(t *testing.T) {
		cfg := testConfig()
		s := online(cfg, v, 10)
		for _, text := range []string{"a", "b", "c"} {
			s.deliver(t, 1, text, Sent)
		}
		s.Detach()
		s.Attach(linkOf(cfg, v, 1))
		out, _ := s.Pump(s.Resume(nil), plenty, 0)
		expect(t, v, out, "PUBLISH 1 q1 a dup")
		out, _ = s.acked(ack(packet.PUBACK, 1, 0), 0)
		expect(t, v, out, "PUBLISH 2 q1 b dup")
	})
	t.Run("v5/MQTT-2.2.1-4/an identifier in use is not given out", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		s.need()
		s.inflight.issued = 65534
		s.deliver(t, 1, "a", Sent) // 65535
		for n := range 70_000 {
			out := s.deliver(t, 1, "b", Sent)
			first, body, _, _ := packet.Split(out, packet.MaxSize)
			var p packet.Publish
			if err := p.Decode(v, first, body); err != nil || p.ID == 65535 {
				t.Fatalf("message %d has identifier %d, %v", n, p.ID, err)
			}
			s.acked(ack(packet.PUBACK, p.ID, 0), 0)
		}
		if s.Inflight() != 1 || len(s.inflight.all()) > 1+2*spare {
			t.Errorf("%d under way, %d remembered; want 1 and few", s.Inflight(), len(s.inflight.all()))
		}
	})
	t.Run("v5/MQTT-3.1.2-25/too large counts as sent", func(t *testing.T) {
		cfg := testConfig()
		s := New(cfg, 0)
		l := linkOf(cfg, v, 1)
		l.terms = &terms{maxPacket: 20}
		s.Attach(l)
		if out := s.deliver(t, 1, "this is far too long a text", TooLarge); len(out) > 0 {
			t.Errorf("sent %d bytes", len(out))
		}
		s.deliver(t, 1, "a", Sent)
	})
	t.Run("unknown identifiers", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		out, _ := s.acked(ack(packet.PUBACK, 9, 0), 0)
		expect(t, v, out)
		out, _ = s.acked(ack(packet.PUBREC, 9, 0), 0)
		expect(t, v, out, "PUBREL 9 0x92")
		out, _ = s.acked(ack(packet.PUBCOMP, 9, 0), 0)
		expect(t, v, out)
		s.deliver(t, 2, "a", Sent)
		out, _ = s.acked(ack(packet.PUBACK, 1, 0), 0) // of the wrong QoS
		expect(t, v, out)
		if s.Inflight() != 1 {
			t.Error("PUBACK ended a QoS 2 exchange")
		}
	})
}

func TestQueue(t *testing.T) {
	texts := []string{"a", "b", "c", "d", "e", "f"}
	t.Run("refuse new", func(t *testing.T) {
		cfg := testConfig()
		s := New(cfg, 0)
		for i, text := range texts {
			want := Queued
			if i == 5 {
				want = Full
			}
			s.deliver(t, 1, text, want)
		}
	})
	t.Run("drop oldest", func(t *testing.T) {
		cfg := testConfig()
		cfg.QueuePolicy = DropOldest
		s := New(cfg, 0)
		for _, text := range texts {
			s.deliver(t, 1, text, Queued)
		}
		s.Attach(linkOf(cfg, packet.V5, 2))
		out, _ := s.Pump(s.Resume(nil), plenty, 0)
		expect(t, packet.V5, out, "PUBLISH 1 q1 b", "PUBLISH 2 q1 c")
	})
	t.Run("by bytes", func(t *testing.T) {
		cfg := testConfig()
		cfg.QueueBytes = 10
		s := New(cfg, 0)
		s.deliver(t, 1, "12345", Queued)
		s.deliver(t, 1, "12345", Full)
		s.deliver(t, 1, "123", Queued)
	})
	t.Run("v5/MQTT-3.3.2-5/expired messages are not sent", func(t *testing.T) {
		cfg := testConfig()
		s := New(cfg, 0)
		d := delivery(1, "old")
		d.Message.Borrowed.Expires = 2 * time.Second
		s.Deliver(nil, d, 0)
		s.deliver(t, 1, "new", Queued)
		s.Attach(linkOf(cfg, packet.V5, 2))
		out, dropped := s.Pump(s.Resume(nil), plenty, 3*time.Second)
		expect(t, packet.V5, out, "PUBLISH 1 q1 new")
		if dropped.Expired != 1 {
			t.Errorf("%d counted as expired, want 1", dropped.Expired)
		}
	})
	t.Run("v5/MQTT-3.3.2-6/the interval counts down", func(t *testing.T) {
		s := online(testConfig(), packet.V5, 2)
		d := delivery(0, "x")
		d.Message.Borrowed.Expire(0, 10)
		out, _, _ := s.Deliver(nil, d, 3500*time.Millisecond)
		first, body, _, _ := packet.Split(out, packet.MaxSize)
		var p packet.Publish
		if err := p.Decode(packet.V5, first, body); err != nil || p.Properties.MessageExpiry != 7 {
			t.Errorf("interval %d, %v; want 7", p.Properties.MessageExpiry, err)
		}
	})
	t.Run("messages that have ended make room first", func(t *testing.T) {
		s := New(testConfig(), 0)
		for i := range 5 {
			d := delivery(1, fmt.Sprint(i))
			if i%2 == 0 {
				d.Message.Borrowed.Expires = time.Second
			}
			s.Deliver(nil, d, 0)
		}
		_, o, dropped := s.Deliver(nil, delivery(1, "new"), time.Second)
		if o != Queued || dropped != 3 || s.Queued() != 3 || s.queue.bytes != 2*2+4 {
			t.Errorf("outcome %d, %d dropped, %d waiting with %d bytes; want queued, 3, 3, 8", o, dropped, s.Queued(), s.queue.bytes)
		}
	})
	t.Run("a message that no queue can hold drops no other", func(t *testing.T) {
		cfg := testConfig()
		cfg.QueuePolicy, cfg.QueueBytes = DropOldest, 10
		s := New(cfg, 0)
		s.deliver(t, 1, "a", Queued)
		s.deliver(t, 1, "longer than ten bytes", Full)
		if s.Queued() != 1 {
			t.Errorf("%d waiting, want 1", s.Queued())
		}
	})
	t.Run("messages that are taken may come back", func(t *testing.T) {
		s := New(testConfig(), 0)
		group := new(int)
		for i := range 2 {
			d := delivery(1, fmt.Sprint(i))
			d.Group = group
			s.Deliver(nil, d, 0)
		}
		s.TakeShared(group, func(m Taken) {
			s.Deliver(nil, Delivery{Message: Cloned(m.Message), QoS: m.QoS}, 0)
		})
		if s.Queued() != 2 || s.queue.bytes != 4 {
			t.Errorf("%d waiting with %d bytes, want 2 with 4", s.Queued(), s.queue.bytes)
		}
	})
	t.Run("v5/MQTT-4.8.2-5/shared messages that were not sent are taken back", func(t *testing.T) {
		s := online(testConfig(), packet.V5, 1)
		group := new(int)
		for i := range 3 {
			d := delivery(1, fmt.Sprint(i))
			if i != 1 {
				d.Group = group
			}
			s.Deliver(nil, d, 0)
		}
		var taken []string
		s.TakeShared(group, func(m Taken) { taken = append(taken, string(m.Message.Payload)) })
		if fmt.Sprint(taken) != "[2]" || s.Queued() != 1 {
			t.Errorf("took %v and left %d, want 2 taken and 1 left", taken, s.Queued())
		}
	})
}

func TestInbound(t *testing.T) {
	const v = packet.V5
	pub := func(qos packet.QoS, id packet.ID) *packet.Publish {
		return &packet.Publish{QoS: qos, ID: id, Topic: []byte("t")}
	}
	code := func(err error) packet.ReasonCode {
		if f, ok := err.(*packet.Fault); ok {
			return f.Code
		}
		return 0
	}
	t.Run("v5/MQTT-4.3.3-10/a repeated QoS 2 message is a duplicate until PUBREL", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		for i, want := range []bool{false, true, true} {
			in, err := s.Receive(pub(2, 7))
			if err != nil || in.Duplicate != want {
				t.Fatalf("receipt %d: duplicate %v, %v; want %v", i, in.Duplicate, err, want)
			}
			expect(t, v, s.Acknowledge(nil, 7, 2, packet.Success), "PUBREC 7")
		}
		s.Detach()
		s.Attach(linkOf(s.cfg, v, 10))
		if in, _ := s.Receive(pub(2, 7)); !in.Duplicate {
			t.Error("a new connection forgot the exchange")
		}
		out, _ := s.acked(ack(packet.PUBREL, 7, 0), 0)
		expect(t, v, out, "PUBCOMP 7")
		if in, _ := s.Receive(pub(2, 7)); in.Duplicate {
			t.Error("the identifier is still taken after PUBCOMP")
		}
	})
	t.Run("v5/MQTT-4.3.3-9/a refused PUBLISH ends the exchange", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		s.Receive(pub(2, 7))
		s.Acknowledge(nil, 7, 2, packet.NotAuthorized)
		if in, _ := s.Receive(pub(2, 7)); in.Duplicate {
			t.Error("the identifier is still taken")
		}
	})
	t.Run("PUBREL without an exchange", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		out, _ := s.acked(ack(packet.PUBREL, 7, 0), 0)
		expect(t, v, out, "PUBCOMP 7 0x92")
	})
	t.Run("v5/MQTT-3.3.4-7/more than the receive maximum", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		for id := packet.ID(1); id <= 3; id++ {
			if _, err := s.Receive(pub(2, id)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Receive(pub(1, 4)); code(err) != packet.ReceiveMaximumExceeded {
			t.Errorf("fourth PUBLISH under way: %v, want 0x93", err)
		}
	})
	t.Run("v5/MQTT-4.3.3-10/a PUBLISH over the quota is not remembered", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		for id := packet.ID(1); id <= 3; id++ {
			s.Receive(pub(2, id))
		}
		if _, err := s.Receive(pub(2, 4)); code(err) != packet.ReceiveMaximumExceeded {
			t.Fatalf("%v, want 0x93", err)
		}
		s.Detach()
		s.Attach(linkOf(s.cfg, v, 10))
		if in, err := s.Receive(pub(2, 4)); err != nil || in.Duplicate {
			t.Errorf("again on a new connection: duplicate %v, %v; want a new message", in.Duplicate, err)
		}
	})
	t.Run("v5/MQTT-4.9.0-1/each connection has its own quota", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		for id := packet.ID(1); id <= 3; id++ {
			s.Receive(pub(2, id))
		}
		s.Detach()
		s.Attach(linkOf(s.cfg, v, 10))
		for id := packet.ID(1); id <= 3; id++ {
			if in, err := s.Receive(pub(2, id)); err != nil || !in.Duplicate {
				t.Errorf("retransmission %d: duplicate %v, %v", id, in.Duplicate, err)
			}
		}
		for id := packet.ID(11); id <= 13; id++ {
			if _, err := s.Receive(pub(1, id)); err != nil {
				t.Errorf("PUBLISH %d: %v", id, err)
			}
		}
	})
	t.Run("a refusal that comes late ends the exchange all the same", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		s.Receive(pub(2, 1))
		s.Detach()
		s.Acknowledge(nil, 1, 2, packet.QuotaExceeded)
		s.Attach(linkOf(s.cfg, v, 10))
		if in, _ := s.Receive(pub(2, 1)); in.Duplicate {
			t.Error("the refused message counts as received")
		}
	})
	t.Run("v5/MQTT-3.3.2-8/topic aliases", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		send := func(topic string, alias uint16) (string, error) {
			p := packet.Publish{Topic: []byte(topic)}
			p.Properties.TopicAlias = alias
			in, err := s.Receive(&p)
			return string(in.Topic), err
		}
		if _, err := send("", 1); code(err) != packet.ProtocolError {
			t.Errorf("alias that was never set: %v, want 0x82", err)
		}
		if _, err := send("a", 3); code(err) != packet.TopicAliasInvalid {
			t.Errorf("alias over the maximum: %v, want 0x94", err)
		}
		for _, step := range []struct{ topic, want string }{{"a", "a"}, {"", "a"}, {"b", "b"}, {"", "b"}} {
			if got, err := send(step.topic, 1); err != nil || got != step.want {
				t.Errorf("topic %q with alias 1 = %q, %v; want %q", step.topic, got, err, step.want)
			}
		}
		s.Detach()
		s.Attach(linkOf(s.cfg, v, 10))
		if _, err := send("", 1); code(err) != packet.ProtocolError {
			t.Errorf("v5/MQTT-3.3.2-7: alias of an earlier connection: %v, want 0x82", err)
		}
	})
	t.Run("v5/MQTT-3.3.4-6/subscription identifier from a client", func(t *testing.T) {
		s := online(testConfig(), v, 10)
		p := pub(0, 0)
		p.Properties.SubscriptionIDs = []uint32{1}
		if _, err := s.Receive(p); code(err) != packet.ProtocolError {
			t.Errorf("%v, want 0x82", err)
		}
	})
}

func TestAliasesOut(t *testing.T) {
	cfg := testConfig()
	c := packet.Connect{Version: packet.V5}
	c.Properties.TopicAliasMaximum = 1
	c.Properties.Set(packet.PropTopicAliasMaximum)
	s := New(cfg, 0)
	s.Attach(NewLink(&c, cfg, 0))
	send := func(topic string) (string, uint16) {
		d := Delivery{Message: &Cloner{Borrowed: &message.Message{Topic: []byte(topic)}}}
		out, _, _ := s.Deliver(nil, d, 0)
		first, body, _, _ := packet.Split(out, packet.MaxSize)
		var p packet.Publish
		if err := p.Decode(packet.V5, first, body); err != nil {
			t.Fatal(err)
		}
		return string(p.Topic), p.Properties.TopicAlias
	}
	for i, want := range []struct {
		send, topic string
		alias       uint16
	}{{"a", "a", 1}, {"a", "", 1}, {"b", "b", 0}, {"a", "", 1}} {
		if topic, alias := send(want.send); topic != want.topic || alias != want.alias {
			t.Errorf("v5/MQTT-3.1.2-26: message %d: topic %q with alias %d, want %q with %d", i, topic, alias, want.topic, want.alias)
		}
	}
}

func TestAliasThatDoesNotFit(t *testing.T) {
	cfg := testConfig()
	c := packet.Connect{Version: packet.V5}
	c.Properties.TopicAliasMaximum = 1
	c.Properties.MaximumPacketSize = 2 + 2 + 1 + 1 + 5 // with the topic t and 5 bytes
	c.Properties.Set(packet.PropTopicAliasMaximum, packet.PropMaximumPacketSize)
	s := New(cfg, 0)
	s.Attach(NewLink(&c, cfg, 0))
	s.deliver(t, 0, "12345", Sent)
	s.deliver(t, 0, "123456", TooLarge)
}

func TestKeepOnce(t *testing.T) {
	b := []byte("payload")
	k := &Cloner{Borrowed: &message.Message{Topic: []byte("t"), Payload: b}}
	first := k.Clone()
	b[0] = 'X'
	if k.Clone() != first || !bytes.Equal(first.Payload, []byte("payload")) {
		t.Error("Keep does not keep once")
	}
}

// TestProblemInformation: reason strings come unless the client says 0
// (MQTT-3.1.2-29).
func TestProblemInformation(t *testing.T) {
	cfg := testConfig()
	var c packet.Connect
	asked := func(want bool, what string) {
		t.Helper()
		s := New(cfg, 0)
		s.Attach(NewLink(&c, cfg, 0))
		if s.ProblemInformation() != want {
			t.Errorf("%s: %v", what, !want)
		}
	}
	c.Version = packet.V5
	asked(true, "nothing said")
	c.Properties.Set(packet.PropRequestProblemInfo)
	asked(false, "0")
	c.Properties.RequestProblemInfo = true
	asked(true, "1")
}
