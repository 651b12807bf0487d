package v5

import (
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

func TestPublish(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-1.5.4-3/U+FEFF stays", func(t *testing.T) {
			c, topic := connect(t), "\ufeff"+unique()
			c.Subscribe(topic, 0)
			c.Publish(topic, "x", 0)
			c.ExpectMessage(topic, "x", 0)
		}},
		{"v5/MQTT-2.2.1-2/no identifier, no properties", plainBytes},
		{"v5/MQTT-2.2.2-1/property length 0", plainBytes},
		{"v5/MQTT-2.2.1-4/identifiers in use differ", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.Subscribe(topic, 2)
			seen := map[packet.ID]bool{}
			for i := range 20 {
				connect(t).Publish(topic, "x", packet.QoS(1+i%2))
				m := c.Message()
				if seen[m.ID] {
					t.Fatalf("identifier %d is in use", m.ID)
				}
				seen[m.ID] = true
			}
		}},
		{"v5/MQTT-2.2.1-5/PUBACK, PUBREC and PUBCOMP", acknowledged},
		{"v5/MQTT-3.3.4-1/the answer to each QoS", acknowledged},
		{"v5/MQTT-2.2.1-6/SUBACK and UNSUBACK", func(t *testing.T) {
			c, topic := connect(t), unique()
			for _, id := range []int{1, 0x7f, 0xff} {
				c.Send(Packet(SUBSCRIBE, id, 1, 0, topic, 0))
				c.Expect(0x90, 4, byte(id), 1, 0, 0)
				c.Send(Packet(UNSUBSCRIBE, id, 2, 0, topic))
				c.Expect(0xb0, 4, byte(id), 2, 0, 0)
			}
		}},
		{"v5/MQTT-3.3.1-1/DUP 1 when sent again", func(t *testing.T) {
			id, topic := unique(), unique()
			for qos := packet.QoS(1); qos < 3; qos++ {
				c := connectSession(t, id)
				c.Subscribe(topic, qos)
				connect(t).Publish(topic, "x", qos)
				first := c.Message()
				c.Disconnect()
				c = connectSession(t, id)
				if again := c.Receive(); first.Dup || !again.Dup || again.ID != first.ID {
					t.Errorf("first %+v, again %+v", first, again)
				}
				c.Disconnect()
			}
		}},
		{"v5/MQTT-3.3.1-2/QoS 0 from a PUBLISH with DUP", dupStops},
		{"v5/MQTT-3.3.1-3/DUP is not handed on", dupStops},
		{"v5/MQTT-3.3.1-5/replaced", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.Retain(topic, "old", 1)
			c.Retain(topic, "new", 1)
			c.Subscribe(topic, 1)
			c.ExpectRetained(topic, "new", 1)
			c.Ping()
		}},
		{"v5/MQTT-3.3.1-6/removed", emptyRetained},
		{"v5/MQTT-3.3.1-7/not stored", emptyRetained},
		{"v5/MQTT-3.3.1-8/RETAIN 0 changes nothing", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.Retain(topic, "kept", 1)
			c.Publish(topic, "other", 1)
			c.Publish(topic, "", 1)
			c.Subscribe(topic, 1)
			c.ExpectRetained(topic, "kept", 1)
			c.Ping()
		}},
		{"v5/MQTT-3.3.1-9/retain handling 0", func(t *testing.T) { retainHandling(t, packet.SendRetained, true, true) }},
		{"v5/MQTT-3.3.1-10/retain handling 1", func(t *testing.T) { retainHandling(t, packet.SendRetainedIfNew, true, false) }},
		{"v5/MQTT-3.3.1-11/retain handling 2", func(t *testing.T) { retainHandling(t, packet.SendNoRetained, false, false) }},
		{"v5/MQTT-3.3.1-12/retain as published 0", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.Subscribe(topic, 1)
			c.Retain(topic, "x", 1)
			c.ExpectMessage(topic, "x", 1)
		}},
		{"v5/MQTT-3.3.1-13/retain as published 1", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.SubscribeWith(0, packet.Subscription{Filter: []byte(topic), QoS: 1, RetainAsPublished: true})
			c.Retain(topic, "x", 1)
			c.ExpectRetained(topic, "x", 1)
			c.Publish(topic, "y", 1)
			c.ExpectMessage(topic, "y", 1)
		}},
		{"v5/MQTT-3.3.2-4/payload format", func(t *testing.T) { forwarded(t, 0x01, 1) }},
		{"v5/MQTT-3.3.2-15/response topic", func(t *testing.T) { forwarded(t, 0x08, "answer/here") }},
		{"v5/MQTT-3.3.2-16/correlation data", func(t *testing.T) { forwarded(t, 0x09, "\x00\xff") }},
		{"v5/MQTT-3.3.2-17/user properties", func(t *testing.T) { forwarded(t, 0x26, "", "", 0x26, "a", "b") }},
		{"v5/MQTT-3.3.2-18/order", func(t *testing.T) { forwarded(t, 0x26, "b", "1", 0x26, "a", "2", 0x26, "b", "0") }},
		{"v5/MQTT-3.3.2-20/content type", func(t *testing.T) { forwarded(t, 0x03, "text/plain") }},
		{"v5/MQTT-3.3.2-7/aliases end with the connection", func(t *testing.T) {
			id, topic := unique(), unique()
			c := connectSession(t, id)
			c.Send(publish(topic, 0x23, 0, 1))
			c.Ping()
			c.Disconnect()
			c = connectSession(t, id)
			c.Send(publish("", 0x23, 0, 1))
			c.ExpectDisconnect(packet.ProtocolError)
		}},
		{"v5/MQTT-3.3.2-12/all aliases up to the maximum", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.Subscribe(topic+"/+", 0)
			for a := packet.ID(1); a <= packet.ID(c.Connack.Properties.TopicAliasMaximum); a++ {
				name := topic + "/" + unique()
				c.Send(publish(name, 0x23, a))
				c.ExpectMessage(name, "x", 0)
				c.Send(publish("", 0x23, a))
				c.ExpectMessage(name, "x", 0)
			}
		}},
		{"v5/MQTT-3.3.2-6/what is left of the expiry", func(t *testing.T) {
			c, topic := connect(t), unique()
			c.Subscribe(topic, 0)
			c.Send(publish(topic, 0x02, Four(100)))
			if p := c.ExpectMessage(topic, "x", 0).Properties; !p.HasExpiry || p.MessageExpiry > 100 || p.MessageExpiry < 90 {
				t.Errorf("got expiry %d", p.MessageExpiry)
			}
		}},
		{"v5/MQTT-3.3.2-5/expired while the client was away", func(t *testing.T) {
			id, topic := unique(), unique()
			c := connectSession(t, id)
			c.Subscribe(topic, 1)
			c.Disconnect()
			connect(t).PublishWith(packet.Publish{
				Topic: []byte(topic), QoS: 1,
				Properties: packet.PublishProperties{HasExpiry: true, MessageExpiry: 1},
			})
			connectWith(t, packet.Connect{CleanStart: true, KeepAlive: 1}).ExpectDisconnect(packet.KeepAliveTimeout) // 1.5 s
			connectSession(t, id).Ping()
		}},
		{"v5/MQTT-3.3.4-9/no more than receive maximum", func(t *testing.T) {
			c, topic := limited(t, unique(), 1000, 2), unique()
			c.Subscribe(topic, 1)
			for _, payload := range []string{"1", "2", "3"} {
				connect(t).Publish(topic, payload, 1)
			}
			first := c.Message()
			c.Message()
			c.Ping() // MQTT-3.3.4-10, too
			c.SendAck(packet.PUBACK, first.ID, packet.Success)
			c.ExpectMessage(topic, "3", 1)
		}},
	})
}

func plainBytes(t *testing.T) {
	c, topic := connect(t), unique()
	c.Subscribe(topic, 1)
	c.Publish(topic, "x", 0)
	c.Expect(Packet(PUBLISH, topic, 0, []byte("x"))...)
}

func acknowledged(t *testing.T) {
	c, topic := connect(t), unique()
	for _, id := range []packet.ID{1, 256, 65535} {
		c.Send(Packet(0x32, topic, id, 0, []byte("x")))
		c.AwaitAck(packet.PUBACK, id)
		c.Send(Packet(0x34, topic, id, 0, []byte("x")))
		c.AwaitAck(packet.PUBREC, id)
		c.Send(Packet(PUBREL, id))
		c.AwaitAck(packet.PUBCOMP, id)
	}
	c.Send(publish(topic))
	c.Ping()
}

func dupStops(t *testing.T) {
	for qos := range packet.QoS(3) {
		c, topic := connect(t), unique()
		c.Subscribe(topic, qos)
		connect(t).Send(Packet(0x3a, topic, packet.ID(5), 0, []byte("x")))
		c.ExpectMessage(topic, "x", min(qos, 1))
	}
}

func emptyRetained(t *testing.T) {
	c, live, topic := connect(t), connect(t), unique()
	c.Retain(topic, "old", 1)
	live.SubscribeWith(0, packet.Subscription{Filter: []byte(topic), QoS: 1, RetainHandling: packet.SendNoRetained})
	c.Retain(topic, "", 1)
	live.ExpectMessage(topic, "", 1) // processed normally
	c.Subscribe(topic, 1)
	c.Ping()
}

// retainHandling subscribes twice to a topic with a retained message.
func retainHandling(t *testing.T, h packet.RetainHandling, first, second bool) {
	c, topic := connect(t), unique()
	c.Retain(topic, "x", 1)
	for _, want := range []bool{first, second} {
		c.SubscribeWith(0, packet.Subscription{Filter: []byte(topic), QoS: 1, RetainHandling: h})
		if want {
			c.ExpectRetained(topic, "x", 1)
		}
		c.Ping()
	}
}

// forwarded proves that properties reach every subscriber as they were sent.
func forwarded(t *testing.T, properties ...any) {
	c, other, topic := connect(t), connect(t), unique()
	c.Subscribe(topic, 0)
	other.Subscribe(topic, 0)
	want := packet.PublishProperties{Forward: Properties(properties...)[1:]}
	c.Send(publish(topic, properties...))
	equalProperties(t, c.ExpectMessage(topic, "x", 0), want)
	equalProperties(t, other.ExpectMessage(topic, "x", 0), want)
}
