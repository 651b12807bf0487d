package v5

import (
	"testing"
	"time"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

// TestEnds looks at the ends of connections and sessions.
func TestEnds(t *testing.T) {
	resume := func(t *testing.T) {
		id, topic := unique(), unique()
		c := connectSession(t, id)
		c.Subscribe(topic, 2)
		c.Disconnect()
		pub := connect(t)
		pub.Publish(topic, "one", 1)
		pub.Publish(topic, "two", 2)
		c = connectSession(t, id)
		c.ExpectMessage(topic, "one", 1)
		c.ExpectMessage(topic, "two", 2)
		pub.Publish(topic, "three", 0)
		c.ExpectMessage(topic, "three", 0)
	}
	takeOver := func(t *testing.T) {
		id := unique()
		first := connectSession(t, id)
		second := connectSession(t, id)
		first.ExpectDisconnect(packet.SessionTakenOver) // looks for a session expiry, and for anything behind it
		if !second.Connack.SessionPresent {
			t.Error("the session did not stay")
		}
		second.Ping()
	}
	run(t, []test{
		{"v5/MQTT-4.5.0-1/messages join the session state", resume},
		{"v5/MQTT-4.1.0-1/state is kept while connected", resume},
		{"v5/MQTT-4.2.0-1/bytes in order", resume},
		{"v5/MQTT-4.1.0-2/expiry 0 ends with the connection", func(t *testing.T) {
			id := unique()
			connectWith(t, packet.Connect{ClientID: []byte(id)}).Disconnect()
			if c := connectSession(t, id); c.Connack.SessionPresent {
				t.Error("the session outlives its connection")
			}
		}},
		{"v5/MQTT-4.1.0-2/expiry 1", expires},
		{"v5/MQTT-3.14.4-2/the server closes behind its DISCONNECT", takeOver},
		{"v5/MQTT-3.14.4-1/nothing behind DISCONNECT", takeOver},
		{"v5/MQTT-3.14.2-1/codes that DISCONNECT has", takeOver},
		{"v5/MQTT-3.14.2-2/no session expiry in DISCONNECT", takeOver},
		{"v5/MQTT-3.14.0-1/no DISCONNECT before CONNACK", func(t *testing.T) {
			c := dial(t)
			c.Send([]byte{PINGREQ, 0})
			c.ExpectEnd()
		}},
		{"v5/MQTT-3.14.4-3/the will is discarded", func(t *testing.T) {
			topic := unique()
			watcher := connect(t)
			watcher.Subscribe(topic, 0)
			silence := newBarrier(watcher)
			connectWith(t, packet.Connect{
				ClientID: []byte(unique()), HasWill: true,
				Will: packet.Will{Topic: []byte(topic), Payload: []byte("will")},
			}).Disconnect()
			silence.Silent(connect(t))
		}},
	})
}

// expires proves that a session ends when its second is over. Each look begins
// the second anew, and a busy machine may be late.
func expires(t *testing.T) {
	id := unique()
	brief := packet.Connect{ClientID: []byte(id), Properties: sessionExpiry(1)}
	connectWith(t, brief).Disconnect()
	for range 5 {
		pass(t)
		c := connectWith(t, brief)
		if !c.Connack.SessionPresent {
			return
		}
		c.Disconnect()
	}
	t.Errorf("the session outlives its expiry of a second, after %v each time", 2*time.Second)
}
