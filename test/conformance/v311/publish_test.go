package v311

import (
	"fmt"
	"strings"
	"testing"

	. "midge/test/conformance/mqtt3"
)

func TestPublish(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-1.5.3-3/U+FEFF stays in a topic name", func(t *testing.T) {
			const mark = "\xef\xbb\xbf"
			root := unique()
			c := connect(t, Options{})
			c.Subscribe(root+"/+", 0)
			c.Subscribe(mark+root, 0)
			c.Publish(root+"/"+mark+"x", "1", 0)
			c.ExpectMessage(Message{Topic: root + "/" + mark + "x", Payload: "1"})
			b := newBarrier(c)
			c.Publish(root, "2", 0) // not the name with the mark
			b.Silent(c)
			c.Publish(mark+root, "3", 0)
			c.ExpectMessage(Message{Topic: mark + root, Payload: "3"})
		}},
		{"v311/MQTT-3.3.1-2/the server sends DUP 0 at QoS 0", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 0)
			pub := connect(t, Options{})
			pub.Send(Publish(0x3a, topic, 1, "DUP at QoS 1"))
			pub.ExpectAck(Puback, 1)
			c.ExpectMessage(Message{Topic: topic, Payload: "DUP at QoS 1"})
		}},
		{"v311/MQTT-3.3.1-3/DUP is not handed on", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			pub := connect(t, Options{})
			pub.Send(Publish(0x3a, topic, 1, "one"), Publish(0x3c, topic, 2, "two"))
			pub.ExpectAck(Puback, 1)
			pub.ExpectAck(Pubrec, 2)
			pub.Send(Packet(Pubrel, 0, 2))
			pub.ExpectAck(Pubcomp, 2)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "one"})
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "two"})
		}},
		{"v311/MQTT-3.3.2-3/the topic name as published", func(t *testing.T) {
			root := unique()
			topic := root + "/Größe/ /a+b"
			topic = strings.ReplaceAll(topic, "+", "-")
			for _, filter := range []string{topic, root + "/#", root + "/+/+/+", "+/Größe/#"} {
				c := connect(t, Options{})
				c.Subscribe(filter, 0)
				c.Publish(topic, "x", 0)
				c.ExpectMessage(Message{Topic: topic, Payload: "x"})
			}
		}},
		{"v311/MQTT-3.3.5-2/a publisher without permission", func(t *testing.T) {
			const topic = "$SYS/broker/conformance" // clients must not write below $SYS
			watcher := connect(t, Options{})
			watcher.Subscribe(topic, 1)
			b := newBarrier(watcher)
			c := connect(t, Options{})
			c.Send(Publish(0x32, topic, 5, "x"))
			if p, err := c.Read(); err == nil && string(p) != string(Packet(Puback, 0, 5)) {
				t.Errorf("got % x, want PUBACK or the end of the connection", p)
			}
			b.Silent(connect(t, Options{}))
		}},
	})
}

// A will that its client may not publish is not published either.
func TestForbiddenWill(t *testing.T) {
	t.Run("v311/MQTT-3.3.5-2/a will without permission", func(t *testing.T) {
		t.Parallel()
		const topic = "$SYS/broker/will"
		watcher := connect(t, Options{})
		watcher.Subscribe(topic, 1)
		b := newBarrier(watcher)
		c := dial(t)
		c.Send(connectPacket(Options{ID: unique(), Will: &Will{Topic: topic, Payload: "x"}}))
		if p, err := c.Read(); err == nil && p[0] != Connack {
			t.Errorf("got % x, want CONNACK or the end of the connection", p)
		}
		c.Cut()
		b.Silent(connect(t, Options{}))
	})
}

func TestRetained(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.3.1-5/stored with its QoS", func(t *testing.T) {
			for qos := range byte(3) {
				topic := unique()
				retainNow(connect(t, Options{}), topic, "x", qos)
				c := connect(t, Options{})
				c.Subscribe(topic, 2)
				c.ExpectMessage(Message{QoS: qos, Retain: true, Topic: topic, Payload: "x"})
			}
		}},
		{"v311/MQTT-3.3.1-5/the last one replaces", func(t *testing.T) {
			topic := unique()
			pub := connect(t, Options{})
			retainNow(pub, topic, "one", 2)
			retainNow(pub, topic, "two", 1)
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			c.ExpectMessage(Message{QoS: 1, Retain: true, Topic: topic, Payload: "two"})
			c.Ping()
		}},
		{"v311/MQTT-3.3.1-6/each matching topic", func(t *testing.T) {
			root := unique()
			pub := connect(t, Options{})
			for _, name := range []string{"", "/a", "/b", "/b/c", "x"} {
				retainNow(pub, root+name, "for "+name, 1)
			}
			for _, tt := range []struct {
				filter string
				want   []string
			}{
				{root, []string{""}},
				{root + "/+", []string{"/a", "/b"}},
				{root + "/#", []string{"", "/a", "/b", "/b/c"}},
				{root + "/b/#", []string{"/b", "/b/c"}},
				{root + "/none", nil},
			} {
				c := connect(t, Options{})
				c.Subscribe(tt.filter, 1)
				got := map[string]bool{}
				for range tt.want {
					m := c.Receive()
					if !m.Retain || m.QoS != 1 || m.Payload != "for "+strings.TrimPrefix(m.Topic, root) {
						t.Errorf("%s: got %+v", tt.filter, m)
					}
					got[strings.TrimPrefix(m.Topic, root)] = true
				}
				for _, name := range tt.want {
					if !got[name] {
						t.Errorf("%s: retained messages %v, want %q among them", tt.filter, got, name)
					}
				}
				c.Ping() // no more
			}
		}},
		{"v311/MQTT-3.3.1-6/at the granted QoS at most", func(t *testing.T) {
			topic := unique()
			retainNow(connect(t, Options{}), topic, "x", 2)
			for qos := range byte(3) {
				c := connect(t, Options{})
				c.Subscribe(topic, qos)
				c.ExpectMessage(Message{QoS: qos, Retain: true, Topic: topic, Payload: "x"})
			}
		}},
		{"v311/MQTT-3.3.1-7/QoS 0 replaces QoS 2", func(t *testing.T) {
			topic := unique()
			pub := connect(t, Options{})
			retainNow(pub, topic, "old", 2)
			retainNow(pub, topic, "new", 0)
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			if m := c.Receive(); m.Payload == "old" {
				t.Errorf("got %+v, want the message of QoS 0 or none", m)
			}
		}},
		{"v311/MQTT-3.3.1-8/RETAIN 1 for a new subscription", func(t *testing.T) {
			topic := unique()
			pub := connect(t, Options{})
			retainNow(pub, topic, "x", 1)
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			c.ExpectMessage(Message{QoS: 1, Retain: true, Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.3.1-9/RETAIN 0 for an existing subscription", func(t *testing.T) {
			topic := unique()
			for qos := range byte(3) {
				c := connect(t, Options{})
				b := newBarrier(c)
				c.Subscribe(topic, 2)
				pub := connect(t, Options{})
				payload := unique()
				if qos > 0 {
					c.Receive() // the one of the QoS before
				}
				pub.Retain(topic, payload, qos)
				c.ExpectMessage(Message{QoS: qos, Topic: topic, Payload: payload})
				b.Silent(pub)
			}
		}},
		{"v311/MQTT-3.3.1-10/delivered, and the topic is clear", func(t *testing.T) {
			for qos := range byte(3) {
				topic := unique()
				pub := connect(t, Options{})
				retainNow(pub, topic, "x", 1)
				c := connect(t, Options{})
				c.Subscribe(topic, 2)
				c.Receive()
				retainNow(pub, topic, "", qos)
				c.ExpectMessage(Message{QoS: qos, Topic: topic})
				late := connect(t, Options{})
				late.Subscribe(topic, 2)
				late.Ping()
			}
		}},
		{"v311/MQTT-3.3.1-11/not kept", func(t *testing.T) {
			topic := unique()
			retainNow(connect(t, Options{}), topic, "", 1)
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			c.Ping()
		}},
		{"v311/MQTT-3.3.1-12/does not store", func(t *testing.T) {
			topic := unique()
			connect(t, Options{}).Publish(topic, "x", 1)
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			c.Ping()
		}},
		{"v311/MQTT-3.3.1-12/does neither replace nor clear", func(t *testing.T) {
			topic := unique()
			pub := connect(t, Options{})
			retainNow(pub, topic, "retained", 1)
			pub.Publish(topic, "other", 1)
			pub.Publish(topic, "", 1)
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			c.ExpectMessage(Message{QoS: 1, Retain: true, Topic: topic, Payload: "retained"})
		}},
	})
}

func TestFlow(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-2.2.2-1/flags of the packets that the server sends", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{}) // CONNACK 0x20
			c.Subscribe(topic, 2)      // SUBACK 0x90
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 1) // PUBACK 0x40
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
			pub.Publish(topic, "x", 2) // PUBREC 0x50, PUBCOMP 0x70
			m := c.Message()
			c.Send(Packet(Pubrec, m.ID))
			c.Expect(0x62, 2, byte(m.ID>>8), byte(m.ID)) // PUBREL
			c.Send(Packet(Pubcomp, m.ID))
			c.Unsubscribe(topic) // UNSUBACK 0xb0
			c.Ping()             // PINGRESP 0xd0
		}},
		{"v311/MQTT-2.3.1-1/the server's own identifiers are not 0", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			pub := connect(t, Options{})
			for i := range 10 {
				pub.Publish(topic, "x", byte(1+i%2))
				if m := c.Receive(); m.ID == 0 {
					t.Errorf("got %+v", m)
				}
			}
		}},
		{"v311/MQTT-2.3.1-5/no identifier at QoS 0", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 0)
			pub := connect(t, Options{})
			for qos := range byte(3) {
				pub.Publish(topic, "payload", qos)
				if got, want := c.Next(), Publish(0x30, topic, 0, "payload"); string(got) != string(want) {
					t.Errorf("got % x, want % x", got, want)
				}
			}
		}},
		{"v311/MQTT-2.3.1-6/PUBACK, PUBREC, PUBREL and PUBCOMP repeat the identifier", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			for _, id := range []int{1, 0xff, 0x0100, 0x1234, 0xffff} {
				hi, lo := id>>8, id&0xff
				c.Send(Packet(0x32, topic, hi, lo))
				c.Expect(Puback, 2, byte(hi), byte(lo))
				c.Send(Packet(0x34, topic, hi, lo))
				c.Expect(Pubrec, 2, byte(hi), byte(lo))
				c.Send(Packet(Pubrel, hi, lo))
				c.Expect(Pubcomp, 2, byte(hi), byte(lo))
			}
			c.Subscribe(topic, 2)
			connect(t, Options{}).Publish(topic, "x", 2)
			m := c.Message()
			c.Send(Packet(Pubrec, m.ID))
			c.ExpectAck(Pubrel, m.ID)
		}},
		{"v311/MQTT-2.3.1-7/SUBACK and UNSUBACK repeat the identifier", func(t *testing.T) {
			c := connect(t, Options{})
			topic := unique()
			for _, id := range []int{1, 0x0100, 0xffff, 7} {
				c.Send(Packet(0x82, id>>8, id&0xff, topic, 1))
				c.Expect(Suback, 3, byte(id>>8), byte(id), 1)
				c.Send(Packet(0xa2, id>>8, id&0xff, topic))
				c.Expect(Unsuback, 2, byte(id>>8), byte(id))
			}
		}},
		{"v311/MQTT-3.3.4-1/no answer at QoS 0", func(t *testing.T) {
			c := connect(t, Options{})
			c.Publish(unique(), "x", 0)
			c.Ping()
		}},
		{"v311/MQTT-3.3.4-1/PUBACK at QoS 1", func(t *testing.T) {
			c := connect(t, Options{})
			c.Publish(unique(), "x", 1)
			c.Ping()
		}},
		{"v311/MQTT-3.3.4-1/PUBREC at QoS 2", func(t *testing.T) {
			c := connect(t, Options{})
			c.Publish(unique(), "x", 2)
			c.Ping()
		}},
		{"v311/MQTT-4.3.1-1/one PUBLISH", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			b := newBarrier(c)
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 0)
			c.ExpectMessage(Message{Topic: topic, Payload: "x"})
			b.Silent(pub)
		}},
		{"v311/MQTT-4.3.2-1/the server as sender", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			pub := connect(t, Options{})
			ids := map[any]bool{}
			for i := range 5 {
				pub.Publish(topic, fmt.Sprint(i), 1)
				m := c.Message()
				if m.Dup || m.QoS != 1 || m.Payload != fmt.Sprint(i) || ids[m.ID] {
					t.Errorf("got %+v after the identifiers %v", m, ids)
				}
				ids[m.ID] = true
			}
		}},
		{"v311/MQTT-4.3.2-2/the server as receiver", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			pub := connect(t, Options{})
			for _, payload := range []string{"one", "two"} { // the same identifier twice: two messages
				pub.Send(Publish(0x32, topic, 7, payload))
				pub.ExpectAck(Puback, 7)
				c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: payload})
			}
			pub.Send(Publish(0x3a, topic, 7, "two")) // DUP does not make it less new
			pub.ExpectAck(Puback, 7)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "two"})
		}},
		{"v311/MQTT-4.3.3-1/the server as sender", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			connect(t, Options{}).Publish(topic, "x", 2)
			m := c.Message()
			if m.Dup || m.QoS != 2 {
				t.Errorf("got %+v", m)
			}
			c.Ping() // no PUBREL before PUBREC
			c.Send(Packet(Pubrec, m.ID))
			c.ExpectAck(Pubrel, m.ID)
			c.Send(Packet(Pubcomp, m.ID))
			c.Ping()
		}},
		{"v311/MQTT-4.3.3-2/a repetition is the same message", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			b := newBarrier(c)
			pub := connect(t, Options{})
			for _, first := range []byte{0x34, 0x3c, 0x3c} {
				pub.Send(Publish(first, topic, 7, "x"))
				pub.ExpectAck(Pubrec, 7)
			}
			pub.Send(Packet(Pubrel, 0, 7))
			pub.ExpectAck(Pubcomp, 7)
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "x"})
			b.Silent(pub)
		}},
		{"v311/MQTT-4.3.3-2/after PUBREL the identifier is a new message", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			pub := connect(t, Options{})
			for _, payload := range []string{"one", "two"} {
				pub.Send(Publish(0x34, topic, 7, payload))
				pub.ExpectAck(Pubrec, 7)
				pub.Send(Packet(Pubrel, 0, 7))
				pub.ExpectAck(Pubcomp, 7)
				c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: payload})
			}
		}},
		{"v311/MQTT-4.3.3-2/PUBREL of an unknown identifier gets PUBCOMP", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Packet(Pubrel, 0, 7))
			c.ExpectAck(Pubcomp, 7)
			c.Send(Packet(Pubrel, 0, 7))
			c.ExpectAck(Pubcomp, 7)
		}},
		{"v311/MQTT-4.6.0-2/PUBACK in the order of PUBLISH", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			var all []byte
			for i := range 50 {
				all = append(all, Packet(0x32, topic, 0, 200-i)...)
			}
			c.Send(all)
			for i := range 50 {
				c.Expect(Puback, 2, 0, byte(200-i))
			}
		}},
		{"v311/MQTT-4.6.0-3/PUBREC in the order of PUBLISH", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			var all []byte
			for i := range 15 {
				all = append(all, Packet(0x34, topic, 0, 200-i)...)
			}
			c.Send(all)
			for i := range 15 {
				c.Expect(Pubrec, 2, 0, byte(200-i))
			}
		}},
		{"v311/MQTT-4.6.0-4/PUBREL in the order of PUBREC", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			pub := connect(t, Options{})
			var all []Message
			for range 6 {
				pub.Publish(topic, "x", 2)
				all = append(all, c.Message())
			}
			for _, i := range []int{2, 0, 5, 1, 4, 3} {
				c.Send(Packet(Pubrec, all[i].ID))
			}
			for _, i := range []int{2, 0, 5, 1, 4, 3} {
				c.ExpectAck(Pubrel, all[i].ID)
			}
		}},
		{"v311/MQTT-4.6.0-5/two topics, one publisher", func(t *testing.T) { ordered(t, 2, 0) }},
		{"v311/MQTT-4.6.0-6/QoS 0", func(t *testing.T) { ordered(t, 1, 0) }},
		{"v311/MQTT-4.6.0-6/QoS 1", func(t *testing.T) { ordered(t, 1, 1) }},
		{"v311/MQTT-4.6.0-6/QoS 2", func(t *testing.T) { ordered(t, 1, 2) }},
	})
}

// ordered proves that subscribers get one publisher's messages of each topic in
// the order sent. Some of them subscribe with a wildcard.
func ordered(t *testing.T, topics int, qos byte) {
	const n = 60
	root := unique()
	var subscribers []*Client
	for i := range 4 {
		c := connect(t, Options{})
		if i%2 == 0 {
			c.Subscribe(root+"/#", qos)
		} else {
			for j := range topics {
				c.Subscribe(fmt.Sprint(root, "/", j), qos)
			}
		}
		subscribers = append(subscribers, c)
	}
	pub := connect(t, Options{})
	for i := range n {
		pub.Publish(fmt.Sprint(root, "/", i%topics), fmt.Sprint(i), qos)
	}
	for _, c := range subscribers {
		next := make([]int, topics)
		for j := range next {
			next[j] = j
		}
		for range n {
			m := c.Receive()
			var topic int
			fmt.Sscan(strings.TrimPrefix(m.Topic, root+"/"), &topic)
			if m.QoS != qos || m.Payload != fmt.Sprint(next[topic]) {
				t.Fatalf("got %+v, want %d", m, next[topic])
			}
			next[topic] += topics
		}
	}
}
