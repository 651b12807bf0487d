package v5

import (
	"fmt"
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

// topicPair is a publisher, and a subscriber of a topic of their own.
func topicPair(t *testing.T, qos packet.QoS) (pub, sub *Client, topic string) {
	t.Helper()
	pub, sub, topic = connect(t), connect(t), unique()
	sub.Subscribe(topic, qos)
	return pub, sub, topic
}

// sendPublish sends a PUBLISH and leaves the exchange open.
func sendPublish(c *Client, topic, payload string, qos packet.QoS, id packet.ID, dup bool) {
	p := packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, ID: id, Dup: dup}
	c.Send(p.Append(nil, packet.V5))
}

// TestSender looks at the exchanges in which the server sends.
func TestSender(t *testing.T) {
	// interrupted gives a client two messages, which it does not acknowledge
	// before its connection is lost.
	interrupted := func(t *testing.T, qos packet.QoS) (pub, c *Client, id string, first, second packet.Publish) {
		topic := unique()
		id = unique()
		pub, c = connect(t), connectSession(t, id)
		c.Subscribe(topic, qos)
		pub.Publish(topic, "one", qos)
		pub.Publish(topic, "two", qos)
		return pub, c, id, c.Message(), c.Message()
	}
	again := func(qos packet.QoS) func(*testing.T) {
		return func(t *testing.T) {
			_, c, id, first, second := interrupted(t, qos)
			if first.Dup || second.Dup || first.ID == second.ID {
				t.Fatalf("first got %+v and %+v", first, second)
			}
			c.Ping() // nothing again on the same connection
			c.Cut()
			c = connectSession(t, id)
			for _, want := range []packet.Publish{first, second} {
				if m := c.Receive(); !m.Dup || m.ID != want.ID || string(m.Payload) != string(want.Payload) || m.QoS != qos {
					t.Fatalf("got %+v, want %+v with DUP", m, want)
				}
			}
			c.Ping()
		}
	}
	released := func(t *testing.T) {
		_, c, id, first, second := interrupted(t, 2)
		c.SendAck(packet.PUBREC, first.ID, packet.Success)
		c.AwaitAck(packet.PUBREL, first.ID)
		c.Cut()
		c = connectSession(t, id)
		c.AwaitAck(packet.PUBREL, first.ID) // and not PUBLISH
		if m := c.Message(); m.ID != second.ID || !m.Dup {
			t.Fatalf("got %+v, want the second message", m)
		}
		c.SendAck(packet.PUBCOMP, first.ID, packet.Success)
		c.Ping()
	}
	refused := func(qos packet.QoS, ack packet.Type) func(*testing.T) {
		return func(t *testing.T) {
			_, c, id, first, second := interrupted(t, qos)
			c.SendAck(ack, first.ID, packet.UnspecifiedError)
			c.Ping() // no PUBREL
			c.Cut()
			c = connectSession(t, id)
			if m := c.Receive(); m.ID != second.ID {
				t.Fatalf("got %+v, want the second message only", m)
			}
			c.Ping()
		}
	}
	order := func(t *testing.T) {
		for qos := packet.QoS(0); qos <= 2; qos++ {
			pub, sub, topic := topicPair(t, qos)
			for i := range 100 {
				if qos == 0 {
					pub.Publish(topic, fmt.Sprint(i), 0)
				} else {
					sendPublish(pub, topic, fmt.Sprint(i), qos, packet.ID(i+1), false)
				}
			}
			for i := range 100 {
				if m := sub.Receive(); string(m.Payload) != fmt.Sprint(i) {
					t.Fatalf("QoS %d: got %s, want %d", qos, m.Payload, i)
				}
			}
		}
	}
	run(t, []test{
		{"v5/MQTT-4.3.1-1/DUP 0", func(t *testing.T) {
			pub, sub, topic := topicPair(t, 2)
			pub.Publish(topic, "x", 0)
			sub.ExpectMessage(topic, "x", 0) // looks at DUP
		}},
		{"v5/MQTT-4.3.2-1/an identifier for each", again(1)},
		{"v5/MQTT-4.3.2-2/DUP 0 at first", again(1)},
		{"v5/MQTT-4.3.2-3/until PUBACK", again(1)},
		{"v5/MQTT-4.3.3-1/an identifier for each", again(2)},
		{"v5/MQTT-4.3.3-2/DUP 0 at first", again(2)},
		{"v5/MQTT-4.3.3-3/until PUBREC", again(2)},
		{"v5/MQTT-4.3.3-4/PUBREL for PUBREC", released},
		{"v5/MQTT-4.3.3-5/until PUBCOMP", released},
		{"v5/MQTT-4.3.3-6/no PUBLISH after PUBREL", released},
		{"v5/MQTT-4.4.0-1/PUBLISH of QoS 1", again(1)},
		{"v5/MQTT-4.4.0-1/PUBLISH of QoS 2", again(2)},
		{"v5/MQTT-4.4.0-1/PUBREL", released},
		{"v5/MQTT-4.4.0-2/PUBACK refuses", refused(1, packet.PUBACK)},
		{"v5/MQTT-4.4.0-2/PUBREC refuses", refused(2, packet.PUBREC)},
		{"v5/MQTT-4.6.0-1/order of what is sent again", again(1)},
		{"v5/MQTT-4.6.0-5/one publisher's messages", order},
		{"v5/MQTT-4.6.0-6/every topic is ordered", order},
		{"v5/MQTT-3.6.2-1/PUBREL of an unknown PUBREC", func(t *testing.T) {
			c := connect(t)
			c.SendAck(packet.PUBREC, 77, packet.Success)
			if ack := c.AwaitAck(packet.PUBREL, 77); ack.Code != packet.PacketIdentifierNotFound {
				t.Errorf("PUBREL says %v", ack.Code)
			}
		}},
		{"v5/MQTT-4.3.3-7/a message that was sent does not expire", func(t *testing.T) {
			id, topic := unique(), unique()
			c := connectSession(t, id)
			c.Subscribe(topic, 2)
			pub := connect(t)
			p := packet.Publish{Topic: []byte(topic), Payload: []byte("x"), QoS: 2}
			p.Properties.HasExpiry, p.Properties.MessageExpiry = true, 1
			pub.PublishWith(p)
			first := c.Message()
			c.Cut()
			pass(t)
			c = connectSession(t, id)
			if m := c.Receive(); m.ID != first.ID || !m.Dup {
				t.Errorf("got %+v, want the message again", m)
			}
		}},
	})
}

// pass lets two seconds go by on the server's clock: a will tells.
func pass(t *testing.T) {
	t.Helper()
	topic := unique()
	watcher := connect(t)
	watcher.Subscribe(topic, 0)
	connectWith(t, packet.Connect{
		ClientID: []byte(unique()), HasWill: true, Properties: sessionExpiry(3600),
		Will: packet.Will{Topic: []byte(topic), Payload: []byte("x"), Delay: 2},
	}).Cut()
	watcher.ExpectMessage(topic, "x", 0)
}

// TestReceiver looks at the exchanges in which the server receives.
func TestReceiver(t *testing.T) {
	once := func(t *testing.T) {
		pub, sub, topic := topicPair(t, 2)
		silence := newBarrier(sub)
		for _, dup := range []bool{false, true, true} {
			sendPublish(pub, topic, "x", 2, 5, dup)
			if ack := pub.AwaitAck(packet.PUBREC, 5); ack.Code.Failed() {
				t.Fatalf("PUBREC says %v", ack.Code)
			}
		}
		sub.ExpectMessage(topic, "x", 2)
		silence.Silent(connect(t))
		for i, want := range []packet.ReasonCode{packet.Success, packet.PacketIdentifierNotFound} {
			pub.SendAck(packet.PUBREL, 5, packet.Success)
			if ack := pub.AwaitAck(packet.PUBCOMP, 5); ack.Code != want {
				t.Errorf("PUBCOMP %d says %v, want %v", i, ack.Code, want)
			}
		}
		sendPublish(pub, topic, "y", 2, 5, false)
		pub.AwaitAck(packet.PUBREC, 5)
		sub.ExpectMessage(topic, "y", 2)
	}
	twice := func(t *testing.T) {
		pub, sub, topic := topicPair(t, 1)
		for _, dup := range []bool{false, true} {
			sendPublish(pub, topic, "x", 1, 5, dup)
			pub.AwaitAck(packet.PUBACK, 5)
			sub.ExpectMessage(topic, "x", 1)
		}
	}
	refused := func(t *testing.T) {
		pub := connect(t)
		for range 2 {
			sendPublish(pub, "$SYS/mine", "x", 2, 5, false)
			if ack := pub.AwaitAck(packet.PUBREC, 5); ack.Code != packet.NotAuthorized {
				t.Fatalf("PUBREC says %v", ack.Code)
			}
		}
		_, sub, topic := topicPair(t, 2)
		sendPublish(pub, topic, "new", 2, 5, false)
		pub.AwaitAck(packet.PUBREC, 5)
		sub.ExpectMessage(topic, "new", 2)
	}
	order := func(t *testing.T) {
		pub, topic := connect(t), unique()
		for _, qos := range []packet.QoS{1, 2} {
			ack := packet.PUBACK + packet.Type(qos-1)
			for id := packet.ID(1); id <= 20; id++ {
				sendPublish(pub, topic, "x", qos, id, false)
			}
			for id := packet.ID(1); id <= 20; id++ {
				pub.AwaitAck(ack, id)
			}
		}
		for id := packet.ID(1); id <= 20; id++ {
			pub.SendAck(packet.PUBREL, id, packet.Success)
		}
		for id := packet.ID(1); id <= 20; id++ {
			pub.AwaitAck(packet.PUBCOMP, id)
		}
	}
	run(t, []test{
		{"v5/MQTT-4.3.2-4/PUBACK", twice},
		{"v5/MQTT-4.3.2-5/after PUBACK a new message", twice},
		{"v5/MQTT-4.3.3-8/PUBREC", once},
		{"v5/MQTT-4.3.3-10/delivered once", once},
		{"v5/MQTT-4.3.3-11/PUBCOMP", once},
		{"v5/MQTT-4.3.3-12/after PUBCOMP a new message", once},
		{"v5/MQTT-3.7.2-1/PUBCOMP of an unknown PUBREL", once},
		{"v5/MQTT-4.3.3-9/after a refusal a new message", refused},
		{"v5/MQTT-3.5.2-1/PUBREC refuses", refused},
		{"v5/MQTT-3.4.2-1/PUBACK refuses", func(t *testing.T) {
			pub := connect(t)
			sendPublish(pub, "$SYS/mine", "x", 1, 5, false)
			if ack := pub.AwaitAck(packet.PUBACK, 5); ack.Code != packet.NotAuthorized {
				t.Errorf("PUBACK says %v", ack.Code)
			}
		}},
		{"v5/MQTT-4.6.0-2/order of PUBACK", order},
		{"v5/MQTT-4.6.0-3/order of PUBREC", order},
		{"v5/MQTT-4.6.0-4/order of PUBCOMP", order},
		{"v5/MQTT-4.3.3-13/the exchange goes on after the expiry", func(t *testing.T) {
			pub := connect(t)
			p := packet.Publish{Topic: []byte(unique()), Payload: []byte("x"), QoS: 2, ID: 5}
			p.Properties.HasExpiry, p.Properties.MessageExpiry = true, 1
			pub.Send(p.Append(nil, packet.V5))
			pub.AwaitAck(packet.PUBREC, 5)
			pass(t)
			pub.SendAck(packet.PUBREL, 5, packet.Success)
			if ack := pub.AwaitAck(packet.PUBCOMP, 5); ack.Code != packet.Success {
				t.Errorf("PUBCOMP says %v", ack.Code)
			}
		}},
	})
}

// TestWindow looks at the flow control of section 4.9.
func TestWindow(t *testing.T) {
	window := func(t *testing.T) {
		topic := unique()
		p := packet.Connect{CleanStart: true}
		p.Properties.ReceiveMaximum = 2
		p.Properties.Set(packet.PropReceiveMaximum)
		sub, pub := connectWith(t, p), connect(t)
		sub.Subscribe(topic, 2)
		for i := range 4 {
			pub.Publish(topic, fmt.Sprint(i), packet.QoS(1+i%2))
		}
		first, second := sub.Message(), sub.Message()
		sub.Ping() // no third, and other packets are answered
		pub.Publish(topic, "at once", 0)
		sub.ExpectMessage(topic, "at once", 0)
		sub.SendAck(packet.PUBREC, second.ID, packet.Success)
		sub.AwaitAck(packet.PUBREL, second.ID)
		sub.Ping() // PUBREC gives nothing back
		sub.SendAck(packet.PUBACK, first.ID, packet.Success)
		sub.ExpectMessage(topic, "2", 1)
		sub.ExpectMessage(topic, "3", 2)
		sub.SendAck(packet.PUBCOMP, second.ID, packet.Success)
		sub.Ping()
	}
	run(t, []test{
		{"v5/MQTT-4.9.0-1/as many as the receive maximum", window},
		{"v5/MQTT-4.9.0-2/and no more", window},
		{"v5/MQTT-4.9.0-3/other packets are answered", window},
	})
}

// TestUnfit looks at packets that reason strings and user properties could
// make too large for the client: what comes stays within its limit.
func TestUnfit(t *testing.T) {
	// tiny is a client that takes packets of 9 bytes at most.
	tiny := func(t *testing.T) *Client {
		p := packet.Connect{CleanStart: true, ClientID: []byte(unique())}
		p.Properties.MaximumPacketSize = 40
		p.Properties.Set(packet.PropMaximumPacketSize)
		return connectWith(t, p)
	}
	within := func(t *testing.T, c *Client, want packet.Type, send []byte) {
		t.Helper()
		c.Send(send)
		b := c.Next()
		if packet.TypeOf(b[0]) != want || len(b) > 40 {
			t.Fatalf("got %d bytes % x, want %v of 40 at most", len(b), b, want)
		}
	}
	acks := func(want packet.Type, send []byte) func(*testing.T) {
		return func(t *testing.T) { within(t, tiny(t), want, send) }
	}
	puback := acks(packet.PUBACK, Packet(0x32, "$SYS/no", packet.ID(1), 0, []byte("x")))
	pubrec := acks(packet.PUBREC, Packet(0x34, "$SYS/no", packet.ID(1), 0, []byte("x")))
	pubrel := acks(packet.PUBREL, Packet(PUBREC, packet.ID(9)))
	pubcomp := acks(packet.PUBCOMP, Packet(PUBREL, packet.ID(9)))
	suback := acks(packet.SUBACK, Packet(SUBSCRIBE, packet.ID(1), 0, tooDeep, 0))
	unsuback := acks(packet.UNSUBACK, Packet(UNSUBSCRIBE, packet.ID(1), 0, "never"))
	disconnect := acks(packet.DISCONNECT, Packet(0x36, "a", packet.ID(1), 0, []byte("x")))
	run(t, []test{
		{"v5/MQTT-3.4.2-2/reason string of PUBACK", puback},
		{"v5/MQTT-3.4.2-3/user properties of PUBACK", puback},
		{"v5/MQTT-3.5.2-2/reason string of PUBREC", pubrec},
		{"v5/MQTT-3.5.2-3/user properties of PUBREC", pubrec},
		{"v5/MQTT-3.6.2-2/reason string of PUBREL", pubrel},
		{"v5/MQTT-3.6.2-3/user properties of PUBREL", pubrel},
		{"v5/MQTT-3.7.2-2/reason string of PUBCOMP", pubcomp},
		{"v5/MQTT-3.7.2-3/user properties of PUBCOMP", pubcomp},
		{"v5/MQTT-3.9.2-1/reason string of SUBACK", suback},
		{"v5/MQTT-3.9.2-2/user properties of SUBACK", suback},
		{"v5/MQTT-3.11.2-1/reason string of UNSUBACK", unsuback},
		{"v5/MQTT-3.11.2-2/user properties of UNSUBACK", unsuback},
		{"v5/MQTT-3.14.2-3/reason string of DISCONNECT", disconnect},
		{"v5/MQTT-3.14.2-4/user properties of DISCONNECT", disconnect},
	})
}
