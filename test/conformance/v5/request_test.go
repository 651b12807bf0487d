package v5

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

// subscribe sends a SUBSCRIBE and returns the codes of its SUBACK.
func subscribe(t *testing.T, c *Client, filters ...packet.Subscription) []packet.ReasonCode {
	t.Helper()
	p := packet.Subscribe{ID: c.NextID(), Subscriptions: filters}
	c.Send(p.Append(nil, packet.V5))
	var ack packet.Suback
	c.Decode(packet.SUBACK, &ack)
	if ack.ID != p.ID {
		t.Fatalf("SUBACK %d, want %d", ack.ID, p.ID)
	}
	return ack.Codes
}

// unsubscribe is the same for UNSUBSCRIBE.
func unsubscribe(t *testing.T, c *Client, filters ...string) []packet.ReasonCode {
	t.Helper()
	p := packet.Unsubscribe{ID: c.NextID()}
	for _, f := range filters {
		p.Filters = append(p.Filters, []byte(f))
	}
	c.Send(p.Append(nil, packet.V5))
	var ack packet.Unsuback
	c.Decode(packet.UNSUBACK, &ack)
	if ack.ID != p.ID {
		t.Fatalf("UNSUBACK %d, want %d", ack.ID, p.ID)
	}
	return ack.Codes
}

// filter is a subscription at a QoS.
func filter(name string, qos packet.QoS) packet.Subscription {
	return packet.Subscription{Filter: []byte(name), QoS: qos}
}

func TestRequests(t *testing.T) {
	several := func(t *testing.T) {
		c, root := connect(t), unique()
		got := subscribe(t, c, filter(root+"/0", 0), filter(tooDeep, 1), filter(root+"/2", 2), filter(root+"/1", 1))
		want := []packet.ReasonCode{0, packet.TopicFilterInvalid, 2, 1}
		if !slices.Equal(got, want) {
			t.Fatalf("SUBACK says %v, want %v", got, want)
		}
		pub := connect(t)
		for _, level := range []string{"0", "1", "2"} {
			pub.Publish(root+"/"+level, "x", 2)
			c.ExpectMessage(root+"/"+level, "x", packet.QoS(level[0]-'0'))
		}
	}
	gone := func(t *testing.T) {
		c, root := connect(t), unique()
		subscribe(t, c, filter(root+"/a", 1), filter(root+"/b", 1), filter(root+"/+", 0))
		got := unsubscribe(t, c, root+"/a", root+"/never", root+"/B", root+"/b")
		want := []packet.ReasonCode{packet.Success, packet.NoSubscriptionExisted, packet.NoSubscriptionExisted, packet.Success}
		if !slices.Equal(got, want) {
			t.Fatalf("UNSUBACK says %v, want %v", got, want)
		}
		pub := connect(t)
		pub.Publish(root+"/a", "x", 1)
		c.ExpectMessage(root+"/a", "x", 0) // by the wildcard, which is compared as it stands
		unsubscribe(t, c, root+"/+")
		silence := newBarrier(c)
		pub.Publish(root+"/a", "y", 1)
		silence.Silent(pub)
	}
	replaced := func(t *testing.T) {
		pub, sub, topic := topicPair(t, 2)
		sub.Subscribe(topic, 0)
		silence := newBarrier(sub)
		pub.Publish(topic, "x", 2)
		sub.ExpectMessage(topic, "x", 0)
		silence.Silent(pub) // one copy
	}
	run(t, []test{
		{"v5/MQTT-3.8.4-1/SUBACK", several},
		{"v5/MQTT-3.8.4-2/packet identifier", several},
		{"v5/MQTT-3.8.4-5/several filters", several},
		{"v5/MQTT-3.8.4-6/a code for each", several},
		{"v5/MQTT-3.8.4-7/granted or failed", several},
		{"v5/MQTT-3.8.4-8/the lower QoS", several},
		{"v5/MQTT-3.9.3-1/order of the codes", several},
		{"v5/MQTT-3.9.3-2/codes that SUBACK has", several},
		{"v5/MQTT-3.8.4-3/replaced", replaced},
		{"v5/MQTT-3.8.4-4/retained again, and nothing lost", func(t *testing.T) {
			pub, sub, topic := topicPair(t, 1)
			pub.Retain(topic, "kept", 1)
			sub.ExpectMessage(topic, "kept", 1)
			done := make(chan bool)
			go func() {
				defer close(done)
				for i := range 100 {
					pub.Publish(topic, fmt.Sprint(i), 1)
				}
			}()
			sub.Subscribe(topic, 1)
			<-done
			for next, again := 0, 0; next < 100 || again < 1; {
				switch m := sub.Receive(); string(m.Payload) {
				case "kept":
					again++
				case fmt.Sprint(next):
					next++
				default:
					t.Fatalf("got %s, want %d", m.Payload, next)
				}
			}
		}},
		{"v5/MQTT-3.8.3-3/No Local", func(t *testing.T) {
			c, other, topic := connect(t), connect(t), unique()
			subscribe(t, c, packet.Subscription{Filter: []byte(topic), QoS: 1, NoLocal: true})
			silence := newBarrier(c)
			c.Publish(topic, "own", 1)
			silence.Silent(other)
			other.Publish(topic, "other's", 1)
			c.ExpectMessage(topic, "other's", 1)
		}},
		{"v5/MQTT-3.10.4-1/compared as they stand", gone},
		{"v5/MQTT-3.10.4-2/nothing more", gone},
		{"v5/MQTT-3.10.4-4/UNSUBACK", gone},
		{"v5/MQTT-3.10.4-5/packet identifier", gone},
		{"v5/MQTT-3.10.4-6/several filters", gone},
		{"v5/MQTT-3.11.3-1/order of the codes", gone},
		{"v5/MQTT-3.11.3-2/codes that UNSUBACK has", gone},
		{"v5/MQTT-3.10.4-3/what has begun is completed", func(t *testing.T) {
			id, topic := unique(), unique()
			pub, c := connect(t), connectSession(t, id)
			c.Subscribe(topic, 2)
			pub.Publish(topic, "x", 2)
			first := c.Message()
			c.Unsubscribe(topic)
			c.SendAck(packet.PUBREC, first.ID, packet.Success)
			c.AwaitAck(packet.PUBREL, first.ID)
			c.Cut()
			c = connectSession(t, id)
			c.AwaitAck(packet.PUBREL, first.ID)
			c.SendAck(packet.PUBCOMP, first.ID, packet.Success)
			c.Ping()
		}},
		{"v5/MQTT-3.12.4-1/PINGRESP", func(t *testing.T) {
			c := connect(t)
			for range 3 {
				c.Ping()
			}
		}},
		{"v5/MQTT-4.12.0-1/unknown method", func(t *testing.T) {
			c := dial(t)
			c.Send(connectPacket(cleanStart, Properties(0x15, "unknown"), unique()))
			c.ExpectRefused(packet.BadAuthenticationMethod, packet.NotAuthorized)
		}},
		{"v5/MQTT-4.12.0-4/the connection ends", func(t *testing.T) {
			c := dial(t)
			c.Send(connectPacket(cleanStart, Properties(0x15, "unknown", 0x16, "data"), unique()), Packet(AUTH, 0x18, Properties(0x15, "unknown")))
			c.ExpectRefused(packet.BadAuthenticationMethod, packet.NotAuthorized)
		}},
		{"v5/MQTT-4.12.0-6/no method, no AUTH", func(t *testing.T) {
			c := connect(t)
			if c.Connack.Properties.Has(packet.PropAuthMethod) {
				t.Error("CONNACK has an authentication method")
			}
			c.Ping()
		}},
	})
}

// TestMalformedRequests sends packets that end the connection with one of some
// codes.
func TestMalformedRequests(t *testing.T) {
	codes := func(all ...packet.ReasonCode) []packet.ReasonCode { return all }
	broken := codes(packet.MalformedPacket)
	wrong := codes(packet.ProtocolError)
	id := packet.ID(1)
	for _, tt := range []struct {
		name string
		send []byte
		want []packet.ReasonCode
	}{
		{"v5/MQTT-3.6.1-1/PUBREL with flags 0000", Packet(0x60, id), broken},
		{"v5/MQTT-3.8.1-1/SUBSCRIBE with flags 0000", Packet(0x80, id, 0, "a", 0), broken},
		{"v5/MQTT-3.10.1-1/UNSUBSCRIBE with flags 0000", Packet(0xa0, id, 0, "a"), broken},
		{"v5/MQTT-3.14.1-1/DISCONNECT with flags 0001", Packet(0xe1), broken},
		{"v5/MQTT-3.15.1-1/AUTH with flags 0001", Packet(0xf1), broken},
		{"v5/MQTT-3.8.3-1/filter is not UTF-8", Packet(SUBSCRIBE, id, 0, notUTF8, 0), broken},
		{"v5/MQTT-3.8.3-2/no filter", Packet(SUBSCRIBE, id, 0), either},
		{"v5/MQTT-3.8.3-4/No Local on a shared subscription", Packet(SUBSCRIBE, id, 0, "$share/g/a", 4), wrong},
		{"v5/MQTT-3.8.3-5/reserved bit 6", Packet(SUBSCRIBE, id, 0, "a", 0x40), broken},
		{"v5/MQTT-3.8.3-5/reserved bit 7", Packet(SUBSCRIBE, id, 0, "a", 0x80), broken},
		{"v5/MQTT-3.8.3-5/QoS 3", Packet(SUBSCRIBE, id, 0, "a", 3), either},
		{"v5/MQTT-3.8.3-5/Retain Handling 3", Packet(SUBSCRIBE, id, 0, "a", 0x30), either},
		{"v5/MQTT-3.10.3-1/filter is not UTF-8", Packet(UNSUBSCRIBE, id, 0, notUTF8), broken},
		{"v5/MQTT-3.10.3-2/no filter", Packet(UNSUBSCRIBE, id, 0), either},
		{"v5/MQTT-3.4.2-1/a code that PUBACK does not have", Packet(PUBACK, id, 0x92), either},
		{"v5/MQTT-3.5.2-1/a code that PUBREC does not have", Packet(PUBREC, id, 0x92), either},
		{"v5/MQTT-3.6.2-1/a code that PUBREL does not have", Packet(PUBREL, id, 0x80), either},
		{"v5/MQTT-3.7.2-1/a code that PUBCOMP does not have", Packet(PUBCOMP, id, 0x80), either},
		{"v5/MQTT-3.14.2-1/a code that DISCONNECT does not have", Packet(DISCONNECT, 0x01), either},
		{"v5/MQTT-3.15.2-1/a code that AUTH does not have", Packet(AUTH, 0x01, Properties(0x15, "x")), either},
		{"v5/MQTT-4.12.0-7/AUTH without method in CONNECT", Packet(AUTH, 0x19, Properties(0x15, "x")), wrong},
		{"v5/MQTT-4.13.2-1/DISCONNECT and the end", Packet(SUBSCRIBE, id, 0), either},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t)
			c.Send(tt.send)
			c.ExpectDisconnect(tt.want...)
		})
	}
}

func TestFilters(t *testing.T) {
	refused := func(filters ...string) func(*testing.T) {
		return func(t *testing.T) {
			for _, f := range filters {
				c := connect(t)
				c.Send((&packet.Subscribe{ID: 9, Subscriptions: []packet.Subscription{filter(f, 0)}}).Append(nil, packet.V5))
				c.ExpectDisconnect(packet.ProtocolError)
				c = connect(t)
				c.Send((&packet.Unsubscribe{ID: 9, Filters: [][]byte{[]byte(f)}}).Append(nil, packet.V5))
				c.ExpectDisconnect(packet.ProtocolError)
			}
		}
	}
	matches := func(pattern, name string, want bool) func(*testing.T) {
		return func(t *testing.T) {
			pub, sub, root := connect(t), connect(t), unique()
			sub.Subscribe(root+pattern, 0)
			silence := newBarrier(sub)
			pub.Publish(root+name, "x", 0)
			if want {
				sub.ExpectMessage(root+name, "x", 0)
			}
			silence.Silent(pub)
		}
	}
	long := "/" + strings.Repeat("x", 65_535-40)
	run(t, []test{
		{"v5/MQTT-4.7.0-1/wildcard in a topic name", func(t *testing.T) {
			c := connect(t)
			c.Send(publish("a/+"))
			c.ExpectDisconnect(packet.TopicNameInvalid)
		}},
		{"v5/MQTT-4.7.1-1/# last and alone", matches("/#", "/a/b", true)},
		{"v5/MQTT-4.7.1-1/# matches the parent", matches("/#", "", true)},
		{"v5/MQTT-4.7.1-1/# elsewhere", refused("a/#/b", "a#", "a/b#", "#/")},
		{"v5/MQTT-4.7.1-2/+ at any level", matches("/+/b/+", "/a/b/c", true)},
		{"v5/MQTT-4.7.1-2/+ matches one level", matches("/+", "/a/b", false)},
		{"v5/MQTT-4.7.1-2/+ matches an empty level", matches("/+/b", "//b", true)},
		{"v5/MQTT-4.7.1-2/+ in a part of a level", refused("a+", "+a/b", "a/+b")},
		{"v5/MQTT-4.7.2-1/wildcards and $", func(t *testing.T) {
			pub, sub, explicit, name := connect(t), connect(t), connect(t), unique()
			sub.Subscribe("+/"+name, 0)
			sub.Subscribe("#", 0)
			explicit.Subscribe("$own/"+name, 0)
			pub.Publish("$own/"+name, "x", 0)
			explicit.ExpectMessage("$own/"+name, "x", 0)
			pub.Publish("own/"+name, "y", 0)
			for { // "#" gets what other tests publish
				switch m := sub.Receive(); {
				case bytes.HasPrefix(m.Topic, []byte("$")):
					t.Fatalf("got %s", m.Topic)
				case string(m.Topic) == "own/"+name:
					return
				}
			}
		}},
		{"v5/MQTT-4.7.3-1/empty filter", refused("")},
		{"v5/MQTT-4.7.3-1/one character", matches("/", "/", true)},
		{"v5/MQTT-4.7.3-2/null in a topic name", func(t *testing.T) {
			c := connect(t)
			c.Send(publish("a\x00b"))
			c.ExpectDisconnect(packet.MalformedPacket, packet.TopicNameInvalid)
		}},
		{"v5/MQTT-4.7.3-3/long names", matches(long, long, true)},
		{"v5/MQTT-4.7.3-4/upper and lower case", matches("/a", "/A", false)},
		{"v5/MQTT-4.7.3-4/composed and decomposed characters", matches("/\u00e9", "/e\u0301", false)},
		{"v5/MQTT-4.7.3-4/separators count", matches("/a", "/a/", false)},
		{"v5/MQTT-4.7.3-4/spaces count", matches("/a b", "/a b", true)},
		{"v5/MQTT-4.8.2-1/no share name", refused("$share//a")},
		{"v5/MQTT-4.8.2-2/wildcards in the share name", refused("$share/a+/b", "$share/#/b")},
		{"v5/MQTT-4.8.2-2/no filter", refused("$share/a", "$share/a/")},
	})
}

func TestSharing(t *testing.T) {
	// members joins two clients with sessions to a group, and returns the one
	// that got the first of the messages, which it has not acknowledged.
	members := func(t *testing.T) (pub, holder, other *Client, held packet.Publish, id string) {
		topic, ids := unique(), []string{unique(), unique()}
		shared := "$share/g/" + topic
		pub = connect(t)
		a, b := connectSession(t, ids[0]), connectSession(t, ids[1])
		a.Subscribe(shared, 2)
		b.Subscribe(shared, 2)
		pub.Publish(topic, "one", 2)
		pub.Publish(topic, "two", 2)
		held = a.Message() // they take turns
		b.Receive()
		return pub, a, b, held, ids[0]
	}
	run(t, []test{
		{"v5/MQTT-4.8.2-1/share name and filter", func(t *testing.T) {
			pub, topic := connect(t), unique()
			members := []*Client{connect(t), connect(t), connect(t)}
			for _, c := range members {
				c.Subscribe("$share/g/"+topic, 1)
			}
			const n = 30
			for i := range n {
				pub.Publish(topic, fmt.Sprint(i), 1)
			}
			seen := map[string]bool{}
			for _, c := range members {
				for range n / len(members) { // they take turns
					if m := string(c.Receive().Payload); seen[m] {
						t.Fatalf("%s was delivered twice", m)
					} else {
						seen[m] = true
					}
				}
				c.Ping()
			}
		}},
		{"v5/MQTT-4.8.2-3/granted QoS", func(t *testing.T) {
			pub, c, topic := connect(t), connect(t), unique()
			c.Subscribe("$share/g/"+topic, 1)
			pub.Publish(topic, "x", 2)
			c.ExpectMessage(topic, "x", 1)
		}},
		{"v5/MQTT-4.8.2-4/completed when the client is back", func(t *testing.T) {
			_, holder, other, held, id := members(t)
			holder.Cut()
			other.Ping()
			holder = connectSession(t, id)
			if m := holder.Receive(); m.ID != held.ID || !m.Dup {
				t.Errorf("got %+v, want the message again", m)
			}
			other.Ping()
		}},
		{"v5/MQTT-4.8.2-5/the session ends", func(t *testing.T) {
			_, holder, other, _, id := members(t)
			holder.Cut()
			connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true}).Disconnect()
			other.Ping()
		}},
		{"v5/MQTT-4.8.2-6/refused", func(t *testing.T) {
			_, holder, other, held, _ := members(t)
			holder.SendAck(packet.PUBREC, held.ID, packet.UnspecifiedError)
			holder.Ping()
			other.Ping()
		}},
	})
}
