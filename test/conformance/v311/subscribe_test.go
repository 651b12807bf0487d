package v311

import (
	"fmt"
	"strings"
	"testing"

	. "midge/test/conformance/mqtt3"
)

func TestSubscribe(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.3.5-1/the highest QoS of overlapping subscriptions", func(t *testing.T) {
			root := unique()
			for _, tt := range []struct {
				qos  [3]byte // of three filters
				want byte
			}{
				{[3]byte{0, 1, 2}, 2}, {[3]byte{2, 1, 0}, 2}, {[3]byte{0, 1, 0}, 1}, {[3]byte{1, 0, 0}, 1}, {[3]byte{0, 0, 0}, 0},
			} {
				c := connect(t, Options{})
				c.Subscribe(root+"/a/b", tt.qos[0])
				c.Subscribe(root+"/+/b", tt.qos[1])
				c.Subscribe(root+"/#", tt.qos[2])
				b := newBarrier(c)
				pub := connect(t, Options{})
				pub.Publish(root+"/a/b", "x", 2)
				c.ExpectMessage(Message{QoS: tt.want, Topic: root + "/a/b", Payload: "x"})
				b.Silent(pub) // Midge sends one copy; the standard leaves more to the server
			}
		}},
		{"v311/MQTT-3.8.4-1/one SUBACK", func(t *testing.T) {
			c := connect(t, Options{})
			c.Subscribe(unique(), 0)
			c.Ping()
		}},
		{"v311/MQTT-3.8.4-2/the identifier of the request", func(t *testing.T) {
			c := connect(t, Options{})
			topic := unique()
			c.Send(Packet(0x82, 0x12, 0x34, topic, 0), Packet(0x82, 0xff, 0xff, topic, 1))
			c.Expect(Suback, 3, 0x12, 0x34, 0)
			c.Expect(Suback, 3, 0xff, 0xff, 1)
		}},
		{"v311/MQTT-3.8.4-3/an identical filter replaces", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			b := newBarrier(c)
			pub := connect(t, Options{})
			for _, qos := range []byte{0, 2, 1} {
				c.Subscribe(topic, qos)
				pub.Publish(topic, "x", 2)
				c.ExpectMessage(Message{QoS: qos, Topic: topic, Payload: "x"})
				b.Silent(pub) // one copy
			}
			c.Unsubscribe(topic) // once is enough
			pub.Publish(topic, "x", 2)
			b.Silent(pub)
		}},
		{"v311/MQTT-3.8.4-3/retained messages come again", func(t *testing.T) {
			topic := unique()
			retainNow(connect(t, Options{}), topic, "x", 1)
			c := connect(t, Options{})
			for _, qos := range []byte{1, 0, 1} {
				c.Subscribe(topic, qos)
				c.ExpectMessage(Message{QoS: qos, Retain: true, Topic: topic, Payload: "x"})
			}
		}},
		{"v311/MQTT-3.8.4-3/the flow goes on", func(t *testing.T) {
			const n = 60
			topic := unique()
			c := connect(t, Options{})
			c.Subscribe(topic, 1)
			pub := connect(t, Options{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range n {
					pub.Offer(Publish(0x32, topic, 1, fmt.Sprint(i)))
					if _, err := pub.Read(); err != nil {
						return // the receiver misses the messages
					}
				}
			}()
			for i := range n {
				if i%10 == 5 {
					id := c.NextID()
					c.Send(Packet(0x82, id, topic, 1))
				}
				p := c.Next()
				for ; p[0] == Suback; p = c.Next() {
				}
				c.Kept = append([][]byte{p}, c.Kept...)
				c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: fmt.Sprint(i)})
			}
			<-done
		}},
		{"v311/MQTT-3.8.4-4/several filters, one SUBACK", func(t *testing.T) {
			root := unique()
			retainNow(connect(t, Options{}), root+"/b", "retained", 1)
			c := connect(t, Options{})
			c.Send(Packet(0x82, 0, 7, root+"/a", 0, root+"/b", 1, root+"/c", 2))
			c.Expect(Suback, 5, 0, 7, 0, 1, 2)
			c.ExpectMessage(Message{QoS: 1, Retain: true, Topic: root + "/b", Payload: "retained"})
			pub := connect(t, Options{})
			for i, level := range []string{"/a", "/b", "/c"} {
				pub.Publish(root+level, "x", 2)
				c.ExpectMessage(Message{QoS: byte(i), Topic: root + level, Payload: "x"})
			}
			c.Ping()
		}},
		{"v311/MQTT-3.8.4-4/the same filter twice", func(t *testing.T) {
			topic := unique()
			c := connect(t, Options{})
			b := newBarrier(c)
			c.Send(Packet(0x82, 0, 7, topic, 0, topic, 2))
			c.Expect(Suback, 4, 0, 7, 0, 2)
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 2)
			c.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "x"})
			b.Silent(pub)
		}},
		{"v311/MQTT-3.8.4-5/a return code for each filter", func(t *testing.T) {
			c := connect(t, Options{})
			for n := 1; n <= 20; n++ {
				request, want := []byte{0, 7}, []byte{Suback, byte(2 + n), 0, 7}
				for i := range n {
					request = append(request, Join(unique(), i%3)...)
					want = append(want, byte(i%3))
				}
				c.Send(Packet(0x82, request))
				c.Expect(want...)
			}
		}},
		{"v311/MQTT-3.8.4-6/the lower of both QoS", func(t *testing.T) {
			for granted := range byte(3) {
				for published := range byte(3) {
					topic := unique()
					c := connect(t, Options{})
					c.Subscribe(topic, granted)
					connect(t, Options{}).Publish(topic, "x", published)
					c.ExpectMessage(Message{QoS: min(granted, published), Topic: topic, Payload: "x"})
				}
			}
		}},
		{"v311/MQTT-3.9.3-1/the order of the filters", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Packet(0x82, 0, 7, unique(), 2, unique(), 0, unique(), 1, unique(), 2, unique(), 1))
			c.Expect(Suback, 7, 0, 7, 2, 0, 1, 2, 1)
		}},
		{"v311/MQTT-3.9.3-2/only 0, 1, 2 and 0x80", func(t *testing.T) {
			c := connect(t, Options{})
			for _, filter := range []string{"#", "+", "/", "$SYS/#", "a//b", " ", "$share/g/a", "$share/g", "$share//a", "$nothing/here"} {
				c.Send(Packet(0x82, 0, 7, filter, 1))
				p, err := c.Read()
				for ; err == nil && p[0]>>4 == 3; p, err = c.Read() { // retained messages of others
				}
				if err != nil {
					c = connect(t, Options{})
					continue // a server may close instead
				}
				if len(p) != 5 || p[0] != Suback || p[4] > 2 && p[4] != 0x80 {
					t.Errorf("%s: got % x", filter, p)
				}
				c.Send(Packet(0xa2, 0, 8, filter))
				c.Await(Unsuback, 8)
				c.Kept = nil
			}
		}},
	})
}

func TestUnsubscribe(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.10.4-1/only an equal filter is deleted", func(t *testing.T) {
			root := unique()
			c := connect(t, Options{})
			c.Subscribe(root+"/+/b", 1)
			for _, filter := range []string{root + "/a/b", root + "/#", root + "/+/+", "+/+/b", "#", root + "/+/B", root + "/+/b/", "/" + root + "/+/b"} {
				c.Unsubscribe(filter)
			}
			pub := connect(t, Options{})
			pub.Publish(root+"/a/b", "x", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: root + "/a/b", Payload: "x"})
			b := newBarrier(c)
			c.Unsubscribe(root + "/+/b")
			pub.Publish(root+"/a/b", "x", 1)
			b.Silent(pub)
		}},
		{"v311/MQTT-3.10.4-1/other subscriptions of a topic stay", func(t *testing.T) {
			topic := unique()
			c, other := connect(t, Options{}), connect(t, Options{})
			c.Subscribe(topic, 0)
			c.Subscribe(topic+"/#", 1)
			other.Subscribe(topic, 0)
			c.Unsubscribe(topic)
			pub := connect(t, Options{})
			pub.Publish(topic, "x", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
			other.ExpectMessage(Message{Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.10.4-2/no new messages", func(t *testing.T) {
			for qos := range byte(3) {
				topic := unique()
				c := connect(t, Options{})
				b := newBarrier(c)
				c.Subscribe(topic, qos)
				c.Unsubscribe(topic)
				pub := connect(t, Options{})
				pub.Publish(topic, "x", qos)
				b.Silent(pub)
			}
		}},
		{"v311/MQTT-3.10.4-3/QoS 1 and 2 are completed", func(t *testing.T) {
			topic := unique()
			o := Options{ID: unique(), Session: true}
			c := connect(t, o)
			c.Subscribe(topic, 2)
			pub := connect(t, Options{})
			pub.Publish(topic, "one", 1)
			pub.Publish(topic, "two", 2)
			one, two := c.Message(), c.Message()
			c.Unsubscribe(topic)
			c.Cut()
			c = connect(t, o)
			one.Dup, two.Dup = true, true
			if m := c.Message(); m != one {
				t.Errorf("got %+v, want %+v", m, one)
			}
			if m := c.Message(); m != two {
				t.Errorf("got %+v, want %+v", m, two)
			}
			c.Send(Packet(Puback, one.ID), Packet(Pubrec, two.ID))
			c.ExpectAck(Pubrel, two.ID)
			c.Send(Packet(Pubcomp, two.ID))
			c.Ping()
		}},
		{"v311/MQTT-3.10.4-4/the identifier of the request", func(t *testing.T) {
			c := connect(t, Options{})
			topic := unique()
			c.Send(Packet(0xa2, 0x12, 0x34, topic), Packet(0xa2, 0xff, 0xff, topic))
			c.Expect(Unsuback, 2, 0x12, 0x34)
			c.Expect(Unsuback, 2, 0xff, 0xff)
		}},
		{"v311/MQTT-3.10.4-5/nothing to delete", func(t *testing.T) {
			c := connect(t, Options{})
			c.Unsubscribe(unique())
			c.Unsubscribe(unique() + "/#")
			c.Ping()
		}},
		{"v311/MQTT-3.10.4-6/several filters, one UNSUBACK", func(t *testing.T) {
			root := unique()
			c := connect(t, Options{})
			b := newBarrier(c)
			c.Subscribe(root+"/a", 1)
			c.Subscribe(root+"/b", 1)
			c.Subscribe(root+"/c", 1)
			c.Send(Packet(0xa2, 0, 7, root+"/a", root+"/none", root+"/c"))
			c.ExpectAck(Unsuback, 7)
			pub := connect(t, Options{})
			for _, level := range []string{"/a", "/c", "/b"} {
				pub.Publish(root+level, "x", 1)
			}
			c.ExpectMessage(Message{QoS: 1, Topic: root + "/b", Payload: "x"})
			b.Silent(pub)
		}},
	})
}

// TestFilter subscribes with one filter and publishes on one topic.
func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		name, filter, topic string // R is replaced by a level of the test's own
		match               bool
	}{
		{"v311/MQTT-4.7.1-2/# is the level above, too", "R/#", "R", true},
		{"v311/MQTT-4.7.1-2/# is one level", "R/#", "R/a", true},
		{"v311/MQTT-4.7.1-2/# is many levels", "R/#", "R/a/b/c/d/e/f", true},
		{"v311/MQTT-4.7.1-2/# is an empty level", "R/#", "R/", true},
		{"v311/MQTT-4.7.1-2/# is not a longer level", "R/#", "Rx/a", false},
		{"v311/MQTT-4.7.1-2/# alone", "#", "R/a/b", true},
		{"v311/MQTT-4.7.1-2/# alone and a slash in front", "#", "/R", true},
		{"v311/MQTT-4.7.1-2/# below a longer path", "R/a/#", "R/b", false},
		{"v311/MQTT-4.7.1-3/+ is one level", "R/+", "R/a", true},
		{"v311/MQTT-4.7.1-3/+ is an empty level", "R/+", "R/", true},
		{"v311/MQTT-4.7.1-3/+ is not no level", "R/+", "R", false},
		{"v311/MQTT-4.7.1-3/+ is not two levels", "R/+", "R/a/b", false},
		{"v311/MQTT-4.7.1-3/+ in the first place", "+/R", "a/R", true},
		{"v311/MQTT-4.7.1-3/+ in the first place, empty", "+/R", "/R", true},
		{"v311/MQTT-4.7.1-3/+ within", "R/+/c", "R/b/c", true},
		{"v311/MQTT-4.7.1-3/+ within does not reach over", "R/+/c", "R/b/b/c", false},
		{"v311/MQTT-4.7.1-3/+ twice", "+/+", "/R", true},
		{"v311/MQTT-4.7.1-3/+ with a slash in front", "/+", "/R", true},
		{"v311/MQTT-4.7.1-3/+ without the slash", "+", "/R", false},
		{"v311/MQTT-4.7.1-3/+ alone", "+", "R", true},
		{"v311/MQTT-4.7.1-3/+ and #", "+/R/#", "a/R/b/c", true},
		{"v311/MQTT-4.7.2-1/# and $", "#", "$R/a", false},
		{"v311/MQTT-4.7.2-1/+ and $", "+/a", "$R/a", false},
		{"v311/MQTT-4.7.2-1/+ and # and $", "+/#", "$R/a", false},
		{"v311/MQTT-4.7.2-1/the level itself", "$R/#", "$R/a", true},
		{"v311/MQTT-4.7.2-1/wildcard behind the level", "$R/+", "$R/a", true},
		{"v311/MQTT-4.7.2-1/$ in a later level", "+/R/#", "a/R/$b", true},
		{"v311/MQTT-4.7.3-4/case", "R/a", "R/A", false},
		{"v311/MQTT-4.7.3-4/a space is a character", "R/a b", "R/a b", true},
		{"v311/MQTT-4.7.3-4/spaces are not cut off", "R/a", "R/a ", false},
		{"v311/MQTT-4.7.3-4/slash in front", "/R", "R", false},
		{"v311/MQTT-4.7.3-4/slash behind", "R", "R/", false},
		{"v311/MQTT-4.7.3-4/double slash", "R/a", "R//a", false},
		{"v311/MQTT-4.7.3-4/composed and decomposed", "R/\u00c5", "R/A\u030a", false},
		{"v311/MQTT-4.7.3-4/characters of equal look", "R/\u00c5", "R/\u212b", false},
		{"v311/MQTT-4.7.3-4/dots mean nothing", "R/a", "R/b/../a", false},
		{"v311/MQTT-4.7.3-4/one character", "R/x", "R/x", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			level := unique()
			filter, topic := strings.ReplaceAll(tt.filter, "R", level), strings.ReplaceAll(tt.topic, "R", level)
			c, pub := connect(t, Options{}), connect(t, Options{})
			end := "end/" + level
			c.Send(Packet(0x82, 0, 1, filter, 0), Packet(0x82, 0, 2, end, 0))
			c.Await(Suback, 1, 0)
			c.Await(Suback, 2, 0)
			pub.Publish(topic, level, 0)
			pub.Publish(end, level, 0)
			got := 0
			for m := c.Receive(); m.Topic != end; m = c.Receive() {
				if m.Topic == topic && m.Payload == level { // # also gets what other tests send
					got++
				}
			}
			if want := map[bool]int{true: 1}[tt.match]; got != want {
				t.Errorf("a message on %q reached %q %d times, want %d", topic, filter, got, want)
			}
		})
	}
}
