package v31

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "midge/test/conformance/mqtt3"
)

// connectHead is CONNECT's variable header, with a keep-alive of an hour.
func connectHead(flags int) []byte { return Join("MQIsdp", 3, flags, 0x0e, 0x10) }

// hasty is a server that doesn't wait long for CONNECT.
var hasty = Tuned{ConnectTimeout: time.Second}

func TestConnect(t *testing.T) {
	run(t, []test{
		{"v31/MQTT31-2.1-2/characters beyond ASCII", func(t *testing.T) {
			c := connect(t, Options{})
			topic := unique() + "/Größe/温度"
			c.Subscribe(topic, 0)
			c.Publish(topic, "x", 0)
			c.ExpectMessage(Message{Topic: topic, Payload: "x"})
		}},
		{"v31/MQTT31-2.1-2/a string that ends early", func(t *testing.T) {
			for _, p := range [][]byte{Packet(0x30, 0, 9, []byte("short")), Packet(0x82, 0, 1, 0, 9, []byte("short")), Packet(0xa2, 0, 1, 0, 9, []byte("short"))} {
				c := connect(t, Options{})
				c.Send(p)
				c.ExpectEnd()
			}
		}},
		{"v31/MQTT31-2.1-2/not UTF-8", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Publish(0x30, "a\xffb", 0, "x"))
			c.ExpectEnd()
		}},
		{"v31/MQTT31-3.1-1/MQIsdp and 3", func(t *testing.T) {
			c := dial(t)
			c.Send([]byte{0x10, 0x12, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 4, 'v', '3', '1', 'a'})
			c.Expect(Connack, 2, 0, 0)
			c.Ping()
			c.Disconnect()
		}},
		{"v31/MQTT31-3.1-1/with clients of 3.1.1", func(t *testing.T) {
			topic := unique()
			old, other := connect(t, Options{}), dial(t)
			other.Send(Packet(0x10, "MQTT", 4, CleanSession, 0, 0, unique()))
			other.Expect(Connack, 2, 0, 0)
			for qos := range byte(3) {
				old.Subscribe(topic+"/down", qos)
				other.Subscribe(topic+"/up", qos)
				old.Publish(topic+"/up", "up", qos)
				other.ExpectMessage(Message{QoS: qos, Topic: topic + "/up", Payload: "up"})
				other.Publish(topic+"/down", "down", qos)
				old.ExpectMessage(Message{QoS: qos, Topic: topic + "/down", Payload: "down"})
			}
		}},
		{"v31/MQTT31-3.1-2/1 and 23 characters", func(t *testing.T) {
			for _, id := range []string{"Z", strings.Repeat("Z", 23), strings.Repeat("ö", 23)} {
				c := connect(t, Options{ID: id})
				c.Ping()
				c.Disconnect()
			}
		}},
		{"v31/MQTT31-3.1-2/none", func(t *testing.T) {
			for _, flags := range []int{0, CleanSession} {
				c := dial(t)
				c.Send(Packet(0x10, connectHead(flags), ""))
				c.Expect(Connack, 2, 0, 2)
				c.ExpectEnd()
			}
		}},
		{"v31/MQTT31-3.1-2/24 characters, which nothing refuses by default", func(t *testing.T) {
			c := connect(t, Options{ID: strings.Repeat("Z", 24)})
			c.Ping()
			c.Disconnect()
		}},
		{"v31/MQTT31-3.1-3/user name flag without user name", func(t *testing.T) { accepted(t, HasUserName) }},
		{"v31/MQTT31-3.1-3/both flags without fields", func(t *testing.T) { accepted(t, HasUserName|HasPassword) }},
		{"v31/MQTT31-3.1-3/password flag without password", func(t *testing.T) { accepted(t, HasUserName|HasPassword, "user") }},
		{"v31/MQTT31-3.1-3/both fields", func(t *testing.T) { accepted(t, HasUserName|HasPassword, "user", "secret") }},
		{"v31/MQTT31-3.1-4/takeover", func(t *testing.T) {
			id := unique()
			first := connect(t, Options{ID: id})
			second := connect(t, Options{ID: id})
			first.ExpectEnd()
			second.Ping()
		}},
		{"v31/MQTT31-3.1-5/silence", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 1)
			start := time.Now()
			c := connect(t, Options{KeepAlive: 1, Will: &Will{Topic: topic, Payload: "gone", QoS: 1}})
			c.ExpectEnd()
			if d := time.Since(start); d < 1500*time.Millisecond {
				t.Errorf("closed after %v of silence, before one and a half times 1 s", d)
			}
			watcher.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "gone"})
		}},
		{"v31/MQTT31-3.1-6/subscriptions and messages", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique(), Session: true}
			c := connect(t, o)
			c.Subscribe(topic, 2)
			c.Disconnect()
			pub := connect(t, Options{})
			pub.Publish(topic, "one", 1)
			pub.Publish(topic, "two", 2)
			c = connect(t, o)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "one"})
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "two"})
			pub.Publish(topic, "three", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "three"})
		}},
		{"v31/MQTT31-3.1-6/Clean Session 1 drops them", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique(), Session: true}
			c := connect(t, o)
			c.Subscribe(topic, 2)
			c.Disconnect()
			pub := connect(t, Options{})
			pub.Publish(topic, "old", 1)
			c = connect(t, Options{ID: o.ID})
			b := newBarrier(c)
			pub.Publish(topic, "new", 1)
			b.Silent(pub)
		}},
		{"v31/MQTT31-3.1-7/no CONNECT", func(t *testing.T) { Dial(t, Serve(t, hasty)).ExpectEnd() }},
		{"v31/MQTT31-3.1-7/half a CONNECT", func(t *testing.T) {
			c := Dial(t, Serve(t, hasty))
			c.Send(Packet(0x10, connectHead(CleanSession), unique())[:12])
			c.ExpectEnd()
		}},
		{"v31/MQTT31-3.2-1/CONNACK of a resumed session", func(t *testing.T) {
			o := Options{ID: unique(), Session: true}
			connect(t, o).Disconnect()
			if _, present := connectPresent(t, o); present {
				t.Error("the first byte of CONNACK is 1")
			}
		}},
		{"v31/MQTT31-3.2-2/unknown versions", func(t *testing.T) {
			for _, level := range []int{0, 1, 2, 6, 99} {
				c := dial(t)
				c.Send(Packet(0x10, "MQIsdp", level, CleanSession, 0, 0, unique()))
				c.Expect(Connack, 2, 0, 1)
				c.ExpectEnd()
			}
		}},
		{"v31/MQTT31-3.12-1/PINGRESP", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Pingreq(), Pingreq())
			c.Expect(Pingresp, 0)
			c.Expect(Pingresp, 0)
		}},
		{"v31/MQTT31-3.14-1/the will is discarded", func(t *testing.T) {
			watcher := connect(t, Options{})
			b := newBarrier(watcher)
			id, topic := unique(), unique()
			watcher.Subscribe(topic, 0)
			connect(t, Options{ID: id, Will: &Will{Topic: topic, Payload: "gone"}}).Disconnect()
			b.Silent(connect(t, Options{ID: id}))
		}},
		{"v31/MQTT31-3.14-1/otherwise it is published", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 0)
			connect(t, Options{Will: &Will{Topic: topic, Payload: "gone"}}).Cut()
			watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
		}},
	})
}

// accepted connects with flags and the fields behind the client identifier.
func accepted(t *testing.T, flags int, fields ...any) {
	t.Helper()
	c := dial(t)
	c.Send(Packet(0x10, connectHead(CleanSession|flags), unique(), Join(fields...)))
	c.Expect(Connack, 2, 0, 0)
	c.Ping()
}

func TestMessages(t *testing.T) {
	run(t, []test{
		{"v31/MQTT31-2.1-1/DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			for _, first := range []byte{0x82, 0x8a} {
				c.Send(Packet(first, 0, 1, topic, 2))
				c.Expect(Suback, 3, 0, 1, 2)
			}
			c.Send(Publish(0x34, topic, 2, "x"))
			c.Await(Pubrec, 2)
			for _, first := range []byte{0x62, 0x6a} {
				c.Send(Packet(first, 0, 2))
				c.Await(Pubcomp, 2)
			}
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "x"})
			for _, first := range []byte{0xa2, 0xaa} {
				c.Send(Packet(first, 0, 3, topic))
				c.ExpectAck(Unsuback, 3)
			}
		}},
		{"v31/MQTT31-2.1-1/PUBREL of the server", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 2)
			connect(t, Options{}).Publish(topic, "x", 2)
			m := c.Message()
			c.Send(Packet(Pubrec, m.ID))
			c.ExpectAck(Pubrel, m.ID) // 0x62: at QoS 1
		}},
		{"v31/MQTT31-3.3-1/RETAIN 1 and 0", func(t *testing.T) {
			for qos := range byte(3) {
				topic := unique()
				here, pub := connect(t, Options{}), connect(t, Options{})
				here.Subscribe(topic, 2)
				retainNow(pub, topic, "x", qos)
				here.ExpectMessage(Message{QoS: qos, Topic: topic, Payload: "x"})
				late := connect(t, Options{})
				late.Subscribe(topic, 2)
				late.ExpectMessage(Message{QoS: qos, Retain: true, Topic: topic, Payload: "x"})
			}
		}},
		{"v31/MQTT31-3.3-2/empty", func(t *testing.T) {
			topic := unique()
			pub := connect(t, Options{})
			retainNow(pub, topic, "x", 1)
			retainNow(pub, topic, "", 1)
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			c.Ping()
		}},
		{"v31/MQTT31-3.3-3/granted and published QoS", func(t *testing.T) {
			for granted := range byte(3) {
				for published := range byte(3) {
					topic := unique()
					c := connect(t, Options{})
					c.Subscribe(topic, granted)
					connect(t, Options{}).Publish(topic, "x", published)
					c.ExpectMessage(Message{QoS: min(granted, published), Topic: topic, Payload: "x"})
					c.Ping()
				}
			}
		}},
		{"v31/MQTT31-3.3-3/a repetition at QoS 2 is the same message", func(t *testing.T) {
			topic := unique()
			c, pub := connect(t, Options{}), connect(t, Options{})
			b := newBarrier(c)
			c.Subscribe(topic, 2)
			for _, first := range []byte{0x34, 0x3c} {
				pub.Send(Publish(first, topic, 7, "x"))
				pub.ExpectAck(Pubrec, 7)
			}
			pub.Send(Packet(Pubrel, 0, 7))
			pub.ExpectAck(Pubcomp, 7)
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "x"})
			b.Silent(pub)
		}},
		{"v31/MQTT31-3.3-4/DUP 1 on the next connection", func(t *testing.T) {
			for qos := byte(1); qos <= 2; qos++ {
				topic := unique()
				o := Options{ID: unique(), Session: true}
				c := connect(t, o)
				c.Subscribe(topic, qos)
				connect(t, Options{}).Publish(topic, "x", qos)
				first := c.Message()
				if first.Dup {
					t.Error("DUP 1 at the first time")
				}
				c.Cut()
				c = connect(t, o)
				first.Dup = true
				if again := c.Message(); again != first {
					t.Errorf("got %+v, want %+v", again, first)
				}
			}
		}},
		{"v31/MQTT31-3.9-1/the order of the request", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Packet(0x82, 0, 7, unique(), 2, unique(), 0, unique(), 1, unique(), 2))
			c.Expect(Suback, 6, 0, 7, 2, 0, 1, 2)
		}},
		{"v31/MQTT31-3.9-2/a filter of too many levels", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Packet(0x82, 0, 7, unique(), 1, strings.Repeat("a/", 1000), 1, unique(), 0))
			c.Expect(Suback, 5, 0, 7, 1, 0x80, 0)
		}},
		{"v31/MQTT31-3.10-1/UNSUBACK", func(t *testing.T) {
			topic := unique()
			c, pub := connect(t, Options{}), connect(t, Options{})
			b := newBarrier(c)
			c.Unsubscribe(topic) // nothing to delete
			c.Subscribe(topic, 1)
			c.Unsubscribe(topic)
			pub.Publish(topic, "x", 1)
			b.Silent(pub)
		}},
		{"v31/MQTT31-A-1/whole levels", func(t *testing.T) {
			root := unique()
			topics := []string{"", "/", "/a", "/a/b", "x"}
			for filter, want := range map[string]string{
				"/#":   "/ /a /a/b ",
				"/+":   "/ /a ",
				"/+/b": "/a/b ",
				"/a/#": "/a /a/b ",
			} {
				c, pub := connect(t, Options{}), connect(t, Options{})
				c.Subscribe(root+filter, 0)
				end := unique()
				c.Subscribe(end, 0)
				for _, topic := range topics {
					pub.Publish(root+topic, "x", 0)
				}
				pub.Publish(end, "x", 0)
				got := ""
				for m := c.Receive(); m.Topic != end; m = c.Receive() {
					got += fmt.Sprint(strings.TrimPrefix(m.Topic, root), " ")
				}
				if filter == "/#" {
					want = " " + want // # is the level above, too
				}
				if got != want {
					t.Errorf("%q got %q, want %q", filter, got, want)
				}
			}
		}},
		{"v31/MQTT31-A-1/# is last", func(t *testing.T) {
			for _, filter := range []string{"a/#/b", "a#", "a+/b"} {
				c := connect(t, Options{})
				c.Send(Packet(0x82, 0, 7, filter, 1))
				if p, err := c.Read(); err == nil && string(p) != string([]byte{Suback, 3, 0, 7, 0x80}) {
					t.Errorf("%q: got % x, want 0x80 or the end of the connection", filter, p)
				}
			}
		}},
		{"v31/MQTT31-A-1/no wildcards in topic names", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Publish(0x30, "a/#", 0, "x"))
			c.ExpectEnd()
		}},
	})
}
