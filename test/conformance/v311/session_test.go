package v311

import (
	"fmt"
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt3"
)

// away is a client that has subscribed to topic and left. Its session waits.
func away(t *testing.T, topic string, qos byte) Options {
	t.Helper()
	o := Options{ID: unique(), Session: true}
	c := connect(t, o)
	c.Subscribe(topic, qos)
	c.Disconnect()
	return o
}

func TestSession(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.1.2-4/subscriptions outlive the connection", func(t *testing.T) {
			topic := unique()
			o := away(t, topic, 1)
			c := connect(t, o)
			connect(t, Options{}).Publish(topic, "x", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.1.2-4/subscriptions outlive a cut connection", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique(), Session: true}
			c := connect(t, o)
			c.Subscribe(topic, 1)
			c.Cut()
			c, present := connectPresent(t, o)
			if !present {
				t.Error("Session Present 0")
			}
			connect(t, Options{}).Publish(topic, "x", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.1.2-4/unsubscribing outlives the connection", func(t *testing.T) {
			topic := unique()
			o := away(t, topic, 1)
			c := connect(t, o)
			c.Unsubscribe(topic)
			c.Disconnect()
			c = connect(t, o)
			b := newBarrier(c)
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 1)
			b.Silent(pub)
		}},
		{"v311/MQTT-3.1.2-5/QoS 1 and 2 are kept", func(t *testing.T) {
			topic := unique()
			o := away(t, topic, 2)
			pub := connect(t, Options{})
			pub.Publish(topic, "one", 1)
			pub.Publish(topic, "two", 2)
			pub.Publish(topic, "three", 1)
			c := connect(t, o)
			// Order holds for messages of one QoS (MQTT-4.6.0-6): a durable
			// broker may send the second later, once its identifier is on disk.
			want := map[Message]bool{
				{QoS: 1, Topic: topic, Payload: "one"}:   true,
				{QoS: 2, Topic: topic, Payload: "two"}:   true,
				{QoS: 1, Topic: topic, Payload: "three"}: true,
			}
			for len(want) > 0 {
				got := c.Receive()
				got.ID = 0
				if !want[got] {
					t.Fatalf("got %+v, want one of %v", got, want)
				}
				delete(want, got)
			}
			c.Ping()
		}},
		{"v311/MQTT-3.1.2-5/several subscriptions", func(t *testing.T) {
			root := unique()
			o := away(t, root+"/+/a", 1)
			c := connect(t, o)
			c.Subscribe(root+"/b/#", 2)
			c.Disconnect()
			pub := connect(t, Options{})
			pub.Publish(root+"/x/a", "1", 2)
			pub.Publish(root+"/b", "2", 2)
			pub.Publish(root+"/x/c", "none", 2)
			c = connect(t, o)
			c.ExpectMessage(Message{QoS: 1, Topic: root + "/x/a", Payload: "1"})
			c.ExpectMessage(Message{QoS: 2, Topic: root + "/b", Payload: "2"})
			c.Ping()
		}},
		{"v311/MQTT-3.1.2-6/Clean Session 1 drops subscriptions and messages", func(t *testing.T) {
			topic := unique()
			o := away(t, topic, 1)
			connect(t, Options{}).Publish(topic, "old", 1)
			o.Session = false
			c := connect(t, o)
			b := newBarrier(c)
			c.Publish(topic, "new", 0)
			b.Silent(c)
		}},
		{"v311/MQTT-3.1.2-6/and leaves nothing behind", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique()}
			c := connect(t, o)
			c.Subscribe(topic, 1)
			c.Disconnect()
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 1)
			o.Session = true
			c, present := connectPresent(t, o)
			if present {
				t.Error("Session Present 1")
			}
			b := newBarrier(c)
			pub.Publish(topic, "y", 1)
			b.Silent(pub)
		}},
		{"v311/MQTT-3.1.2-6/unacknowledged messages are dropped", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique(), Session: true}
			c := connect(t, o)
			c.Subscribe(topic, 1)
			connect(t, Options{}).Publish(topic, "x", 1)
			c.Message()
			c.Cut()
			c = connect(t, Options{ID: o.ID})
			c.Ping()
		}},
		{"v311/MQTT-3.1.2-7/retained messages stay when their session ends", func(t *testing.T) {
			topic := unique()
			pub := connect(t, Options{})
			pub.Retain(topic, "x", 1)
			pub.Disconnect()
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x", Retain: true})
			c.Disconnect()
		}},
		{"v311/MQTT-3.1.2-7/retained messages stay when their client starts afresh", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique(), Session: true}
			pub := connect(t, o)
			pub.Retain(topic, "x", 1)
			pub.Disconnect()
			o.Session = false
			c := connect(t, o)
			c.Subscribe(topic, 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x", Retain: true})
		}},
		{"v311/MQTT-3.1.3-2/sessions of different identifiers are apart", func(t *testing.T) {
			topicA, topicB := unique(), unique()
			a, b := away(t, topicA, 1), away(t, topicB, 1)
			pub := connect(t, Options{})
			pub.Publish(topicA, "for a", 1)
			pub.Publish(topicB, "for b", 1)
			cb, ca := connect(t, b), connect(t, a)
			ca.ExpectMessage(Message{QoS: 1, Topic: topicA, Payload: "for a"})
			cb.ExpectMessage(Message{QoS: 1, Topic: topicB, Payload: "for b"})
			ca.Ping()
			cb.Ping()
		}},
		{"v311/MQTT-3.1.3-2/identifiers are compared by case", func(t *testing.T) {
			id := unique()
			upper, lower := connect(t, Options{ID: id + "A"}), connect(t, Options{ID: id + "a"})
			upper.Ping()
			lower.Ping()
		}},
		{"v311/MQTT-4.1.0-1/state is kept over several connections", func(t *testing.T) {
			topic := unique()
			o := away(t, topic, 1)
			pub := connect(t, Options{})
			for i := range 3 {
				payload := fmt.Sprint("message ", i)
				pub.Publish(topic, payload, 1)
				c, present := connectPresent(t, o)
				if !present {
					t.Error("Session Present 0")
				}
				c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: payload})
				c.Disconnect()
			}
		}},
		{"v311/MQTT-4.1.0-2/Clean Session 1 lasts as long as its connection", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 1)
			m := c.Message()
			for range 3 {
				c.Ping()
			}
			pub.Publish(topic, "y", 2)
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "y"})
			c.Send(Packet(Puback, m.ID)) // still part of the session
			c.Ping()
		}},
		{"v311/MQTT-4.5.0-1/every client with a matching subscription, also those away", func(t *testing.T) {
			topic := unique()
			var here []*Client
			var gone []Options
			for i := range 6 {
				filter := []string{topic + "/a", topic + "/+", topic + "/#"}[i%3]
				c := connect(t, Options{})
				c.Subscribe(filter, 1)
				here = append(here, c)
				gone = append(gone, away(t, filter, 1))
			}
			connect(t, Options{}).Publish(topic+"/a", "x", 1)
			for _, o := range gone {
				here = append(here, connect(t, o))
			}
			for _, c := range here {
				c.ExpectMessage(Message{QoS: 1, Topic: topic + "/a", Payload: "x"})
				c.Ping()
			}
		}},
		{"v311/MQTT-4.5.0-1/the publisher itself", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			c.Publish(topic, "x", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
		}},
	})
}

// TestResume cuts connections within exchanges and looks at what the server
// sends on the next.
func TestResume(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.3.1-1/DUP 1 on what is sent again", func(t *testing.T) {
			for qos := byte(1); qos <= 2; qos++ {
				topic := unique()
				c, o := subscriber(t, topic, qos)
				connect(t, Options{}).Publish(topic, "x", qos)
				first := c.Message()
				if first.Dup {
					t.Error("DUP 1 at the first time")
				}
				c.Cut()
				c = connect(t, o)
				again := c.Message()
				if want := (Message{Dup: true, QoS: qos, ID: first.ID, Topic: topic, Payload: "x"}); again != want {
					t.Errorf("got %+v, want %+v", again, want)
				}
			}
		}},
		{"v311/MQTT-2.3.1-4/the server reuses an identifier only after its acknowledgement", func(t *testing.T) {
			topic := unique()
			c, o := subscriber(t, topic, 1)
			pub := connect(t, Options{})
			pub.Publish(topic, "held", 1)
			held := c.Message()
			for i := range 5 {
				pub.Publish(topic, fmt.Sprint(i), 1)
				if m := c.Receive(); m.ID == held.ID {
					t.Errorf("message %d has the identifier of an unacknowledged one", i)
				}
			}
			c.Ping() // the server has the last PUBACK
			c.Cut()
			c = connect(t, o)
			if again := c.Message(); again.ID != held.ID || again.Payload != "held" {
				t.Errorf("got %+v, want the message that was not acknowledged", again)
			}
			c.Send(Packet(Puback, held.ID))
			c.Ping()
		}},
		{"v311/MQTT-2.3.1-4/identifiers of unacknowledged messages differ", func(t *testing.T) {
			topic := unique()
			c, _ := subscriber(t, topic, 2)
			pub := connect(t, Options{})
			ids := map[any]bool{}
			for i := range 8 {
				pub.Publish(topic, "x", byte(1+i%2))
				ids[c.Message().ID] = true
			}
			if len(ids) != 8 {
				t.Errorf("%d identifiers for 8 messages", len(ids))
			}
		}},
		{"v311/MQTT-2.3.1-4/one is held while the others go round", heldIdentifier},
		{"v311/MQTT-4.4.0-1/PUBLISH and PUBREL", func(t *testing.T) {
			topic := unique()
			c, o := subscriber(t, topic, 2)
			pub := connect(t, Options{})
			pub.Publish(topic, "one", 1)
			pub.Publish(topic, "two", 2)
			pub.Publish(topic, "received", 2)
			one, two, received := c.Message(), c.Message(), c.Message()
			c.Send(Packet(Pubrec, received.ID))
			c.ExpectAck(Pubrel, received.ID)
			c.Cut()
			c = connect(t, o)
			one.Dup, two.Dup = true, true
			var got []Message
			released := false
			for range 3 {
				if p := c.Next(); string(p) == string(Packet(Pubrel, received.ID)) {
					released = true
				} else {
					c.Kept = append(c.Kept, p)
					got = append(got, c.Message())
				}
			}
			if !released || len(got) != 2 || got[0] != one || got[1] != two {
				t.Errorf("got %+v and PUBREL %v; want %+v, %+v and PUBREL", got, released, one, two)
			}
			c.Ping()
		}},
		{"v311/MQTT-4.4.0-1/again and again until acknowledged", func(t *testing.T) {
			topic := unique()
			c, o := subscriber(t, topic, 1)
			connect(t, Options{}).Publish(topic, "x", 1)
			first := c.Message()
			first.Dup = true
			for range 3 {
				c.Cut()
				c = connect(t, o)
				if m := c.Message(); m != first {
					t.Errorf("got %+v, want %+v", m, first)
				}
			}
			c.Send(Packet(Puback, first.ID))
			c.Ping()
			c.Cut()
			connect(t, o).Ping()
		}},
		{"v311/MQTT-4.4.0-1/not while the connection lasts", func(t *testing.T) {
			topic := unique()
			c, _ := subscriber(t, topic, 1)
			connect(t, Options{}).Publish(topic, "x", 1)
			c.Message()
			connect(t, Options{KeepAlive: 1}).ExpectEnd() // a while
			c.Ping()
		}},
		{"v311/MQTT-4.6.0-1/the order of the first time", func(t *testing.T) {
			topic := unique()
			c, o := subscriber(t, topic, 2)
			pub := connect(t, Options{})
			var sent []Message
			for i := range 9 {
				pub.Publish(topic, fmt.Sprint(i), byte(1+i%2))
				sent = append(sent, c.Message())
			}
			c.Send(Packet(Puback, sent[2].ID)) // a gap
			c.Ping()
			c.Cut()
			c = connect(t, o)
			for i, want := range sent {
				if i == 2 {
					continue
				}
				want.Dup = true
				if got := c.Message(); got != want {
					t.Fatalf("got %+v, want %+v", got, want)
				}
			}
			c.Ping()
		}},
		{"v311/MQTT-4.6.0-1/before what came while the client was away", func(t *testing.T) {
			topic := unique()
			c, o := subscriber(t, topic, 1)
			pub := connect(t, Options{})
			pub.Publish(topic, "one", 1)
			c.Message()
			c.Disconnect()
			pub.Publish(topic, "two", 1)
			c = connect(t, o)
			c.ExpectMessage(Message{Dup: true, QoS: 1, Topic: topic, Payload: "one"})
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "two"})
		}},
		{"v311/MQTT-4.3.3-1/PUBREL is sent again, never PUBLISH after it", func(t *testing.T) {
			topic := unique()
			c, o := subscriber(t, topic, 2)
			connect(t, Options{}).Publish(topic, "x", 2)
			m := c.Message()
			c.Send(Packet(Pubrec, m.ID))
			c.ExpectAck(Pubrel, m.ID)
			for range 2 {
				c.Cut()
				c = connect(t, o)
				c.ExpectAck(Pubrel, m.ID)
				c.Ping()
			}
			c.Send(Packet(Pubcomp, m.ID))
			c.Ping()
			c.Cut()
			connect(t, o).Ping()
		}},
		{"v311/MQTT-4.3.3-2/an identifier is known on the next connection", func(t *testing.T) {
			topic := unique()
			watcher := connect(t, Options{})
			watcher.Subscribe(topic, 2)
			o := Options{ID: unique(), Session: true}
			pub := connect(t, o)
			pub.Send(Publish(0x34, topic, 7, "x"))
			pub.ExpectAck(Pubrec, 7)
			pub.Cut()
			pub = connect(t, o)
			pub.Send(Publish(0x3c, topic, 7, "x"))
			pub.ExpectAck(Pubrec, 7)
			pub.Send(Packet(Pubrel, 0, 7))
			pub.ExpectAck(Pubcomp, 7)
			pub.Send(Publish(0x34, topic, 7, "y"))
			pub.ExpectAck(Pubrec, 7)
			pub.Send(Packet(Pubrel, 0, 7))
			pub.ExpectAck(Pubcomp, 7)
			watcher.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "x"})
			watcher.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "y"})
		}},
	})
}

// heldIdentifier leaves one message unacknowledged until the server has used all
// other identifiers and some of them twice.
func heldIdentifier(t *testing.T) {
	const total, batch = 66_000, 50
	topic := unique()
	c, o := subscriber(t, topic, 1)
	pub := connect(t, Options{})
	pub.Publish(topic, "held", 1)
	held := c.Message()
	published := make(chan bool)
	go func() {
		defer close(published)
		for sent := 0; sent < total; sent += batch {
			var all []byte
			for i := range batch {
				all = append(all, Publish(0x32, topic, packet.ID(i+1), "x")...)
			}
			pub.Offer(all)
			for range batch {
				if _, err := pub.Read(); err != nil {
					return // the subscriber misses the messages
				}
			}
			published <- true
		}
	}()
	for range total / batch {
		<-published
		var acks []byte
		for range batch {
			m := c.Message()
			if m.ID == held.ID {
				t.Fatalf("got %+v while %+v is unacknowledged", m, held)
			}
			acks = append(acks, Packet(Puback, m.ID)...)
		}
		c.Send(acks)
	}
	c.Ping()
	c.Cut()
	c = connect(t, o)
	if again := c.Message(); again.ID != held.ID || again.Payload != "held" {
		t.Errorf("got %+v, want %+v", again, held)
	}
	c.Ping() // everything else was acknowledged
}

// subscriber is a connected client whose session stays.
func subscriber(t *testing.T, topic string, qos byte) (*Client, Options) {
	t.Helper()
	o := Options{ID: unique(), Session: true}
	c := connect(t, o)
	c.Subscribe(topic, qos)
	return c, o
}
