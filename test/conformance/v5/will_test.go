package v5

import (
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

// willClient connects with a will and a session that outlives the connection.
func willClient(t *testing.T, id string, w packet.Will) *Client {
	t.Helper()
	w.Payload = []byte("gone")
	return connectWith(t, packet.Connect{ClientID: []byte(id), HasWill: true, Will: w, Properties: sessionExpiry(3600)})
}

func TestWill(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.1.2-7/stored", willOfEachQoS},
		{"v5/MQTT-3.1.2-8/published when the connection is cut", willOfEachQoS},
		{"v5/MQTT-3.1.2-12/QoS 0 to 2", willOfEachQoS},
		{"v5/MQTT-3.1.2-14/not retained", willOfEachQoS},
		{"v5/MQTT-3.1.2-8/after the delay", func(t *testing.T) {
			watcher, topic := connect(t), unique()
			watcher.Subscribe(topic, 0)
			willClient(t, unique(), packet.Will{Topic: []byte(topic), Delay: 1}).Cut()
			watcher.ExpectMessage(topic, "gone", 0)
		}},
		{"v5/MQTT-3.1.2-8/DISCONNECT with will", func(t *testing.T) {
			watcher, topic := connect(t), unique()
			watcher.Subscribe(topic, 0)
			willClient(t, unique(), packet.Will{Topic: []byte(topic)}).DisconnectWith(packet.DisconnectWithWill)
			watcher.ExpectMessage(topic, "gone", 0)
		}},
		{"v5/MQTT-3.1.2-10/removed by DISCONNECT", func(t *testing.T) {
			watcher, id, topic := connect(t), unique(), unique()
			watcher.Subscribe(topic, 1)
			b := newBarrier(watcher)
			willClient(t, id, packet.Will{Topic: []byte(topic)}).Disconnect()
			next := connectSession(t, id)
			next.Cut()
			b.Silent(connectSession(t, id))
		}},
		{"v5/MQTT-3.1.2-15/retained", func(t *testing.T) {
			watcher, topic := connect(t), unique()
			watcher.Subscribe(topic, 1)
			willClient(t, unique(), packet.Will{Topic: []byte(topic), QoS: 1, Retain: true}).Cut()
			watcher.ExpectMessage(topic, "gone", 1)
			late := connect(t)
			late.Subscribe(topic, 1)
			late.ExpectRetained(topic, "gone", 1)
		}},
		{"v5/MQTT-3.1.3-9/a new connection within the delay", func(t *testing.T) {
			watcher, id, topic := connect(t), unique(), unique()
			watcher.Subscribe(topic, 0)
			b := newBarrier(watcher)
			willClient(t, id, packet.Will{Topic: []byte(topic), Delay: 1}).Cut()
			c := connectSession(t, id)
			connectWith(t, packet.Connect{CleanStart: true, KeepAlive: 1}).ExpectDisconnect(packet.KeepAliveTimeout) // 1.5 s
			b.Silent(c)
		}},
		{"v5/MQTT-3.1.3-10/user properties of the will in order", func(t *testing.T) {
			watcher, topic := connect(t), unique()
			watcher.Subscribe(topic, 0)
			want := packet.PublishProperties{Forward: Properties(0x26, "b", "1", 0x26, "a", "2", 0x26, "b", "0")[1:]}
			willClient(t, unique(), packet.Will{Topic: []byte(topic), Properties: want}).Cut()
			equalProperties(t, watcher.ExpectMessage(topic, "gone", 0), want)
		}},
	})
}

func willOfEachQoS(t *testing.T) {
	for qos := range packet.QoS(3) {
		watcher, topic := connect(t), unique()
		watcher.Subscribe(topic, 2)
		willClient(t, unique(), packet.Will{Topic: []byte(topic), QoS: qos}).Cut()
		watcher.ExpectMessage(topic, "gone", qos)
		late := connect(t)
		late.Subscribe(topic, 2)
		late.Ping() // nor was it retained
	}
}

func TestOverlap(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.3.2-3/the topic name matches", func(t *testing.T) { overlap(t) }},
		{"v5/MQTT-3.3.4-2/the maximum QoS", func(t *testing.T) { overlap(t) }},
		{"v5/MQTT-3.3.4-3/subscription identifiers", func(t *testing.T) { overlap(t) }},
		{"v5/MQTT-3.3.4-4/all identifiers", func(t *testing.T) { overlap(t) }},
		{"v5/MQTT-3.3.4-10/other packets are not delayed", func(t *testing.T) {
			c, topic := limited(t, unique(), 1000, 1), unique()
			c.Subscribe(topic, 1)
			c.Publish(topic, "x", 1)
			c.Publish(topic, "y", 1) // answered although the quota is used up
			c.Subscribe(unique(), 1)
			c.Message()
			c.Ping()
		}},
		{"v5/MQTT-3.3.4-7/more than receive maximum", func(t *testing.T) {
			c, topic := connect(t), unique()
			if c.Connack.Properties.ReceiveMaximum == 0 {
				t.Fatal("the server has no receive maximum that can be exceeded")
			}
			for id := packet.ID(1); id <= packet.ID(c.Connack.Properties.ReceiveMaximum); id++ {
				c.Send(Packet(0x34, topic, id, 0, []byte("x")))
				c.AwaitAck(packet.PUBREC, id)
			}
			c.Send(Packet(0x34, topic, packet.ID(60000), 0, []byte("x")))
			c.ExpectDisconnect(packet.ReceiveMaximumExceeded)
		}},
	})
}

// overlap publishes to a topic that several subscriptions of one client match.
// The server may send one copy for all, or one for each.
func overlap(t *testing.T) {
	c, topic := connect(t), unique()
	c.SubscribeWith(1, packet.Subscription{Filter: []byte(topic + "/+"), QoS: 0})
	c.SubscribeWith(200, packet.Subscription{Filter: []byte(topic + "/#"), QoS: 2})
	c.SubscribeWith(0, packet.Subscription{Filter: []byte(topic + "/a"), QoS: 1})
	b := newBarrier(c)
	connect(t).Publish(topic+"/a", "x", 2)
	got, most := map[uint32]bool{}, packet.QoS(0)
	for len(got) < 2 {
		m := c.Receive()
		if string(m.Topic) != topic+"/a" || len(m.Properties.SubscriptionIDs) == 0 {
			t.Fatalf("got %+v", m)
		}
		for _, id := range m.Properties.SubscriptionIDs {
			got[id] = true
		}
		most = max(most, m.QoS)
	}
	if !got[1] || !got[200] || most != 2 {
		t.Errorf("identifiers %v, QoS %d", got, most)
	}
	b.Silent(connect(t))
}
