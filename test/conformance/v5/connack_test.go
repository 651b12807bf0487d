package v5

import (
	"testing"
	"time"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt5"
)

func TestConnack(t *testing.T) {
	plain := func(t *testing.T) {
		c := dial(t)
		c.Send(connectPacket(cleanStart, Properties(), unique()))
		b := c.Next()
		if b[0] != 0x20 || b[2] != 0 || b[3] != 0 {
			t.Fatalf("got % x, want CONNACK with no flags and success", b)
		}
		c.Ping() // one CONNACK, and nothing else
	}
	assigned := func(t *testing.T) {
		seen := map[string]bool{}
		for range 3 {
			c := connectWith(t, packet.Connect{CleanStart: true, ClientID: []byte{}})
			id := string(c.Connack.Properties.AssignedClientID)
			if id == "" || seen[id] {
				t.Fatalf("assigned %q after %v", id, seen)
			}
			seen[id] = true
		}
	}
	run(t, []test{
		{"v5/MQTT-3.2.0-1/CONNACK comes first", plain},
		{"v5/MQTT-3.2.0-2/one CONNACK", plain},
		{"v5/MQTT-3.2.2-1/reserved bits", plain},
		{"v5/MQTT-3.2.2-2/Clean Start", func(t *testing.T) {
			id := unique()
			connectSession(t, id).Disconnect()
			if c := connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true}); c.Connack.SessionPresent {
				t.Error("Session Present 1 with Clean Start 1")
			}
		}},
		{"v5/MQTT-3.2.2-3/with and without a session", func(t *testing.T) {
			id := unique()
			c := connectSession(t, id)
			if c.Connack.SessionPresent {
				t.Error("Session Present 1 without a session")
			}
			c.Disconnect()
			if c = connectSession(t, id); !c.Connack.SessionPresent {
				t.Error("Session Present 0 although there is a session")
			}
		}},
		{"v5/MQTT-3.2.2-6/refusal", func(t *testing.T) {
			id := unique()
			connectSession(t, id).Disconnect()
			c := dial(t)
			c.Send(connectPacket(0, Properties(0x15, "no such method"), id))
			c.ExpectRefused(packet.BadAuthenticationMethod) // looks at Session Present
		}},
		{"v5/MQTT-3.2.2-7/the connection ends behind a refusal", func(t *testing.T) {
			c := dial(t)
			c.Send(connectPacket(cleanStart, Properties(0x15, "no such method"), unique()), []byte{PINGREQ, 0})
			c.ExpectRefused(packet.BadAuthenticationMethod)
		}},
		{"v5/MQTT-3.2.2-8/codes that CONNACK has", func(t *testing.T) {
			c := connect(t) // the decoder knows which codes are CONNACK's
			if c.Connack.Properties.Has(packet.PropMaximumQoS) {
				t.Error("Maximum QoS although all QoS are supported")
			}
		}},
		{"v5/MQTT-3.2.2-16/assigned client identifier", assigned},
		{"v5/MQTT-3.1.3-6/empty client identifier", assigned},
		{"v5/MQTT-3.1.3-7/the assigned identifier names the session", func(t *testing.T) {
			c := connectWith(t, packet.Connect{ClientID: []byte{}, Properties: sessionExpiry(3600)})
			id := string(c.Connack.Properties.AssignedClientID)
			c.Disconnect()
			if c = connectSession(t, id); !c.Connack.SessionPresent {
				t.Error("no session under the assigned identifier")
			}
		}},
		{"v5/MQTT-3.2.2-19/reason string of a refusal does not fit", tinyRefusal},
		{"v5/MQTT-3.2.2-20/user properties of a refusal do not fit", tinyRefusal},
		{"v5/MQTT-3.2.2-22/the client's keep-alive is in force", keepAlive},
		{"v5/MQTT-3.1.2-22/silence for one and a half keep-alive intervals", keepAlive},
		{"v5/MQTT-3.1.2-1/neither MQTT nor MQIsdp", func(t *testing.T) {
			for _, name := range []string{"", "MQTX", "mqtt", "HTTP"} {
				c := dial(t)
				c.Send(Packet(CONNECT, name, 5, 2, 0, 0, 0, unique()))
				c.ExpectRefused(packet.UnsupportedProtocolVersion)
			}
		}},
		{"v5/MQTT-3.1.2-2/version 6", func(t *testing.T) {
			c := dial(t)
			c.Send(Packet(CONNECT, "MQTT", 6, 2, 0, 0, 0, unique()))
			c.ExpectRefused(packet.UnsupportedProtocolVersion)
		}},
		{"v5/MQTT-3.1.3-5/letters and digits", func(t *testing.T) {
			for _, id := range []string{"a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ" + unique()[1:]} {
				connectWith(t, packet.Connect{CleanStart: true, ClientID: []byte(id)}).Ping()
			}
		}},
		{"v5/MQTT-3.1.4-6/packets behind a refused CONNECT", func(t *testing.T) {
			watcher := connect(t)
			topic := unique()
			watcher.Subscribe(topic, 0)
			silence := newBarrier(watcher)
			c := dial(t)
			c.Send(connectPacket(cleanStart, Properties(0x15, "no such method"), unique()), publish(topic))
			c.ExpectRefused(packet.BadAuthenticationMethod)
			silence.Silent(connect(t))
		}},
		{"v5/MQTT-3.14.0-1/no DISCONNECT before CONNACK", func(t *testing.T) {
			c := dial(t)
			c.Send([]byte{PINGREQ, 0})
			c.ExpectEnd()
		}},
	})
}

// tinyRefusal asks for a refusal in at most five bytes: CONNACK with nothing
// but the code.
func tinyRefusal(t *testing.T) {
	c := dial(t)
	c.Send(connectPacket(cleanStart, Properties(0x15, "no such method", 0x27, Four(5)), unique()))
	if b := c.Next(); len(b) > 5 || b[0] != 0x20 {
		t.Fatalf("got % x, want a CONNACK of 5 bytes", b)
	}
	c.ExpectEnd()
}

func keepAlive(t *testing.T) {
	watcher := connect(t)
	topic := unique()
	watcher.Subscribe(topic, 0)
	begun := time.Now()
	c := connectWith(t, packet.Connect{CleanStart: true, KeepAlive: 1, HasWill: true,
		Will: packet.Will{Topic: []byte(topic), Payload: []byte("silent")}})
	c.ExpectDisconnect(packet.KeepAliveTimeout)
	if waited := time.Since(begun); waited < 1400*time.Millisecond {
		t.Errorf("closed after %v", waited)
	}
	watcher.ExpectMessage(topic, "silent", 0)
}

func TestSessions(t *testing.T) {
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
	discard := func(t *testing.T) {
		id, topic := unique(), unique()
		c := connectSession(t, id)
		c.Subscribe(topic, 1)
		c.Disconnect()
		pub := connect(t)
		pub.Publish(topic, "lost", 1)
		c = connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true})
		silence := newBarrier(c)
		pub.Publish(topic, "unwanted", 1)
		silence.Silent(pub)
	}
	takeOver := func(t *testing.T) {
		id := unique()
		first := connectSession(t, id)
		second := connectSession(t, id)
		first.ExpectDisconnect(packet.SessionTakenOver)
		if !second.Connack.SessionPresent {
			t.Error("the session did not stay")
		}
		second.Ping()
	}
	expires := func(t *testing.T) {
		id := unique()
		c := connectWith(t, packet.Connect{ClientID: []byte(id), Properties: sessionExpiry(1)})
		c.Disconnect()
		present := true
		for deadline := time.Now().Add(10 * time.Second); present && time.Now().Before(deadline); {
			timer := time.NewTimer(1200 * time.Millisecond) // each look begins the second anew
			<-timer.C
			c = connectWith(t, packet.Connect{ClientID: []byte(id), Properties: sessionExpiry(1)})
			present = c.Connack.SessionPresent
			c.Disconnect()
		}
		if present {
			t.Error("the session outlives its expiry")
		}
	}
	run(t, []test{
		{"v5/MQTT-3.1.2-4/Clean Start discards", discard},
		{"v5/MQTT-3.1.4-4/Clean Start discards", discard},
		{"v5/MQTT-3.1.2-5/resumed", resume},
		{"v5/MQTT-3.1.2-23/the session outlives its connection", resume},
		{"v5/MQTT-3.1.3-2/the identifier names the session", resume},
		{"v5/MQTT-4.5.0-1/messages join the session state", resume},
		{"v5/MQTT-4.1.0-1/state is kept while connected", resume},
		{"v5/MQTT-4.2.0-1/bytes in order", resume},
		{"v5/MQTT-3.1.2-6/begun", func(t *testing.T) {
			c := connectSession(t, unique())
			if c.Connack.SessionPresent {
				t.Error("Session Present 1 for a new identifier")
			}
			c.Ping()
		}},
		{"v5/MQTT-3.1.4-3/second connection", takeOver},
		{"v5/MQTT-3.14.4-2/the server closes behind its DISCONNECT", takeOver},
		{"v5/MQTT-3.14.4-1/nothing behind DISCONNECT", takeOver},
		{"v5/MQTT-3.14.2-1/codes that DISCONNECT has", takeOver},
		{"v5/MQTT-3.14.2-2/no session expiry in DISCONNECT", takeOver},
		{"v5/MQTT-4.1.0-2/expiry", expires},
		{"v5/MQTT-4.1.0-2/expiry 0 ends with the connection", func(t *testing.T) {
			id := unique()
			connectWith(t, packet.Connect{ClientID: []byte(id)}).Disconnect()
			if c := connectSession(t, id); c.Connack.SessionPresent {
				t.Error("the session outlives its connection")
			}
		}},
	})
}

func TestWills(t *testing.T) {
	// client connects a client with a will, and a watcher of its topic.
	client := func(t *testing.T, w packet.Will, p packet.Properties) (c, watcher *Client, topic string) {
		topic = unique()
		watcher = connect(t)
		watcher.SubscribeWith(0, packet.Subscription{Filter: []byte(topic), QoS: 2, RetainAsPublished: true})
		w.Topic, w.Payload = []byte(topic), []byte("will")
		return connectWith(t, packet.Connect{ClientID: []byte(unique()), HasWill: true, Will: w, Properties: p}), watcher, topic
	}
	published := func(t *testing.T) {
		for qos := packet.QoS(0); qos <= 2; qos++ {
			c, watcher, topic := client(t, packet.Will{QoS: qos}, packet.Properties{})
			c.Cut()
			watcher.ExpectMessage(topic, "will", qos)
			late := connect(t)
			late.Subscribe(topic, 0)
			late.Ping() // not retained
		}
	}
	discarded := func(t *testing.T) {
		c, watcher, _ := client(t, packet.Will{}, packet.Properties{})
		silence := newBarrier(watcher)
		c.Disconnect()
		silence.Silent(connect(t))
	}
	delayed := packet.Will{Delay: 3600}
	run(t, []test{
		{"v5/MQTT-3.1.2-7/stored", published},
		{"v5/MQTT-3.1.2-8/connection lost", published},
		{"v5/MQTT-3.1.2-14/not retained", published},
		{"v5/MQTT-3.1.2-8/DISCONNECT with will", func(t *testing.T) {
			c, watcher, topic := client(t, packet.Will{}, packet.Properties{})
			c.DisconnectWith(packet.DisconnectWithWill)
			watcher.ExpectMessage(topic, "will", 0)
		}},
		{"v5/MQTT-3.1.2-8/delay", func(t *testing.T) {
			begun := time.Now()
			c, watcher, topic := client(t, packet.Will{Delay: 1}, sessionExpiry(3600))
			c.Cut()
			watcher.ExpectMessage(topic, "will", 0)
			if waited := time.Since(begun); waited < time.Second {
				t.Errorf("published after %v", waited)
			}
		}},
		{"v5/MQTT-3.1.2-8/the session ends before the delay", func(t *testing.T) {
			c, watcher, topic := client(t, delayed, sessionExpiry(1))
			c.Cut()
			watcher.ExpectMessage(topic, "will", 0)
		}},
		{"v5/MQTT-3.1.2-10/once only", func(t *testing.T) {
			c, watcher, topic := client(t, packet.Will{}, sessionExpiry(3600))
			silence := newBarrier(watcher)
			c.Cut()
			watcher.ExpectMessage(topic, "will", 0)
			silence.Silent(connect(t))
		}},
		{"v5/MQTT-3.1.2-10/gone with DISCONNECT", discarded},
		{"v5/MQTT-3.14.4-3/DISCONNECT", discarded},
		{"v5/MQTT-3.1.2-15/retained", func(t *testing.T) {
			c, watcher, topic := client(t, packet.Will{Retain: true, QoS: 1}, packet.Properties{})
			c.Cut()
			watcher.ExpectRetained(topic, "will", 1)
			late := connect(t)
			late.Subscribe(topic, 2)
			late.ExpectRetained(topic, "will", 1)
		}},
		{"v5/MQTT-3.1.3-9/back within the delay", func(t *testing.T) {
			topic, id := unique(), unique()
			watcher := connect(t)
			watcher.Subscribe(topic, 0)
			silence := newBarrier(watcher)
			w := packet.Will{Topic: []byte(topic), Payload: []byte("will"), Delay: 3600}
			c := connectWith(t, packet.Connect{ClientID: []byte(id), HasWill: true, Will: w, Properties: sessionExpiry(3600)})
			c.Cut()
			connectSession(t, id).Disconnect()
			silence.Silent(connect(t))
		}},
		{"v5/MQTT-3.1.3-10/user properties keep their order", func(t *testing.T) {
			var p packet.Properties
			for _, name := range []string{"b", "a", "b"} {
				p.User = append(p.User, packet.UserProperty{Name: []byte(name), Value: []byte(unique())})
			}
			c, watcher, topic := client(t, packet.Will{Properties: ForwardWith(p)}, packet.Properties{})
			c.Cut()
			got := watcher.ExpectMessage(topic, "will", 0)
			if string(got.Properties.Forward) != string(p.AppendWire(nil)) {
				t.Errorf("properties % x, want % x", got.Properties.Forward, p.AppendWire(nil))
			}
		}},
	})
}
