package v5

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/test/conformance/mqtt3"
	. "midge/test/conformance/mqtt5"
)

// TestConnectRefused sends a CONNECT that is well-formed and gets a CONNACK with
// a reason code, Session Present 0 and then the end of the connection.
func TestConnectRefused(t *testing.T) {
	method := []packet.ReasonCode{packet.BadAuthenticationMethod, packet.NotAuthorized}
	plain := Properties()
	for _, tt := range []badTest{
		{"v5/MQTT-3.1.4-2/authentication method", connectPacket(cleanStart, Properties(0x15, "no such method"), unique()), method},
		{"v5/MQTT-3.2.2-6/authentication method", connectPacket(0, Properties(0x15, "no such method"), unique()), method},
		{"v5/MQTT-3.2.2-7/malformed", connectPacket(cleanStart|1, plain, unique()), malformed},
		{"v5/MQTT-3.2.2-8/will topic with a wildcard", connectPacket(cleanStart|hasWill, plain, unique(), plain, "a/#", "x"), badTopic},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t)
			c.Send(tt.send)
			c.ExpectRefused(tt.codes...)
		})
	}
}

func TestConnect(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.1.2-1/another protocol name", func(t *testing.T) {
			for _, name := range []string{"", "MQTX", "mqtt", "MQTT ", "MQIsdp", "HTTP"} {
				c := dial(t)
				c.Send(Packet(CONNECT, name, 5, 2, 0, 0, 0, unique()))
				p, err := c.Read()
				if err != nil {
					continue
				}
				if len(p) < 4 || p[0] != mqtt3.Connack || p[3] == 0 {
					t.Fatalf("%q: got % x, want a refusal or the end of the connection", name, p)
				}
				c.ExpectEnd()
			}
		}},
		{"v5/MQTT-3.1.2-2/a version to come, told in the form that all know", func(t *testing.T) {
			for _, version := range []int{6, 127, 255} {
				c := dial(t)
				c.Send(Packet(CONNECT, "MQTT", version, 2, 0, 0, Properties(), unique()))
				if p, err := c.Read(); err != nil || !bytes.Equal(p, []byte{mqtt3.Connack, 2, 0, 1}) {
					t.Fatalf("version %d: got % x, %v; want CONNACK of 3.1.1 with return code 1", version, p, err)
				}
				c.ExpectEnd()
			}
		}},
		{"v5/MQTT-3.1.2-4/Clean Start discards the session", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connectSession(t, id)
			old.Subscribe(topic, 1)
			old.Disconnect()
			connect(t).Publish(topic, "kept", 1)
			c := connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true, Properties: sessionExpiry(3600)})
			b := newBarrier(c)
			c.Publish(topic, "x", 0)
			b.Silent(c)
		}},
		{"v5/MQTT-3.1.2-5/the session goes on", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connectSession(t, id)
			old.Subscribe(topic, 1)
			old.Disconnect()
			connect(t).Publish(topic, "while away", 1)
			c := connectSession(t, id)
			c.ExpectMessage(topic, "while away", 1)
			c.Publish(topic, "x", 0)
			c.ExpectMessage(topic, "x", 0)
		}},
		{"v5/MQTT-3.1.2-6/no session", func(t *testing.T) {
			c := connectSession(t, unique())
			if c.Connack.SessionPresent {
				t.Error("Session Present 1")
			}
			topic := unique()
			c.Subscribe(topic, 1)
			c.Publish(topic, "x", 1)
			c.ExpectMessage(topic, "x", 1)
		}},
		{"v5/MQTT-3.1.2-23/session expiry above 0", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connectSession(t, id)
			old.Subscribe(topic, 2)
			old.Cut()
			// A takeover or a resumption: either has the state.
			c := connectSession(t, id)
			if !c.Connack.SessionPresent {
				t.Error("Session Present 0")
			}
			c.Publish(topic, "x", 2)
			c.ExpectMessage(topic, "x", 2)
		}},
		{"v5/MQTT-3.1.2-28/no response information", func(t *testing.T) {
			address := mqtt3.Serve(t, mqtt3.Tuned{ResponseInformation: "answers/"})
			for _, asked := range []bool{false, true} {
				p := packet.Connect{ClientID: []byte(unique()), CleanStart: true}
				p.Properties.RequestResponseInfo = asked
				p.Properties.Set(packet.PropRequestResponseInfo)
				c := Connect(t, address, p)
				if got := c.Connack.Properties.Has(packet.PropResponseInfo); got != asked {
					t.Errorf("response information asked for: %t, got: %t", asked, got)
				}
			}
			c := Connect(t, address, packet.Connect{ClientID: []byte(unique()), CleanStart: true})
			if c.Connack.Properties.Has(packet.PropResponseInfo) {
				t.Error("response information without request")
			}
		}},
		{"v5/MQTT-3.1.2-29/no reason strings", func(t *testing.T) {
			p := packet.Connect{CleanStart: true}
			p.Properties.Set(packet.PropRequestProblemInfo) // to 0
			c := connectWith(t, p)
			none := func(p packet.Properties) {
				t.Helper()
				if p.Has(packet.PropReasonString) || p.Has(packet.PropUser) {
					t.Error("a packet explains itself")
				}
			}
			var suback packet.Suback
			c.Send(Packet(SUBSCRIBE, 0, 1, 0, tooDeep, 0))
			c.Decode(packet.SUBACK, &suback)
			none(suback.Properties)
			var unsuback packet.Unsuback
			c.Send(Packet(UNSUBSCRIBE, 0, 2, 0, unique()))
			c.Decode(packet.UNSUBACK, &unsuback)
			none(unsuback.Properties)
			var puback, pubcomp packet.Ack
			c.Send(Packet(0x32, "$SYS/"+unique(), 0, 3, 0, []byte("x")))
			c.Decode(packet.PUBACK, &puback)
			c.Send(Packet(PUBREL, 0, 9))
			c.Decode(packet.PUBCOMP, &pubcomp)
			for _, ack := range []packet.Ack{puback, pubcomp} {
				if !ack.Code.Failed() || len(ack.ReasonString) > 0 || len(ack.User) > 0 {
					t.Errorf("got %+v, want a failure that does not explain itself", ack)
				}
			}
		}},
		{"v5/MQTT-3.1.3-1/all fields of the payload in their order", func(t *testing.T) {
			watcher := connect(t)
			id, topic := unique(), unique()
			watcher.Subscribe(topic, 2)
			flags := cleanStart | hasWill | willQoS2 | hasUserName | hasPassword
			c := dial(t)
			c.Send(connectPacket(flags, Properties(), id, Properties(0x03, "kind"), topic, "will message", "user", "secret"))
			c.ExpectConnack(packet.Success)
			c.Cut()
			watcher.ExpectMessage(topic, "will message", 2)
		}},
		{"v5/MQTT-3.1.3-2/state belongs to the identifier", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connectSession(t, id)
			old.Subscribe(topic, 1)
			old.Disconnect()
			for _, other := range []string{id + "x", strings.ToUpper(id), id[:len(id)-1] + "-"} {
				if connectSession(t, other).Connack.SessionPresent {
					t.Errorf("%q has the session of %q", other, id)
				}
			}
			if !connectSession(t, id).Connack.SessionPresent {
				t.Error("Session Present 0")
			}
		}},
		{"v5/MQTT-3.1.3-5/letters and digits", func(t *testing.T) {
			const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			for _, id := range []string{all[:1], all[:23], all[23:46], all[39:]} {
				c := connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true})
				c.Ping()
				c.Disconnect()
			}
		}},
		{"v5/MQTT-3.1.3-6/empty identifiers are replaced by unique ones", assignedIDs},
		{"v5/MQTT-3.1.3-7/the assigned identifier is the session's", func(t *testing.T) {
			topic := unique()
			old := connectWith(t, packet.Connect{ClientID: []byte{}, Properties: sessionExpiry(3600)})
			old.Subscribe(topic, 1)
			old.Disconnect()
			c := connectSession(t, string(old.Connack.Properties.AssignedClientID))
			if !c.Connack.SessionPresent {
				t.Error("Session Present 0")
			}
			c.Publish(topic, "x", 1)
			c.ExpectMessage(topic, "x", 1)
		}},
		{"v5/MQTT-3.2.2-16/unique identifiers", assignedIDs},
		{"v5/MQTT-3.1.4-3/takeover", func(t *testing.T) {
			id, topic := unique(), unique()
			first := connectSession(t, id)
			first.Subscribe(topic, 1)
			second := connectSession(t, id)
			first.ExpectDisconnect(packet.SessionTakenOver)
			if !second.Connack.SessionPresent {
				t.Error("Session Present 0")
			}
			second.Publish(topic, "x", 1)
			second.ExpectMessage(topic, "x", 1)
		}},
		{"v5/MQTT-3.1.4-4/Clean Start of a takeover", func(t *testing.T) {
			id, topic := unique(), unique()
			first := connectSession(t, id)
			first.Subscribe(topic, 1)
			second := connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true})
			first.ExpectDisconnect(packet.SessionTakenOver)
			if second.Connack.SessionPresent {
				t.Error("Session Present 1")
			}
			b := newBarrier(second)
			second.Publish(topic, "x", 1)
			b.Silent(second)
		}},
		{"v5/MQTT-3.1.4-4/success", func(t *testing.T) {
			c := connect(t)
			if c.Connack.Code != packet.Success || c.Connack.SessionPresent {
				t.Errorf("got %+v", c.Connack)
			}
			c.Ping()
		}},
		{"v5/MQTT-3.1.4-6/what comes behind a refused CONNECT", func(t *testing.T) {
			for _, refused := range [][]byte{
				connectPacket(cleanStart, Properties(0x15, "no such method"), unique()),
				connectPacket(cleanStart|1, Properties(), unique()),
			} {
				topic := unique()
				watcher, witness := connect(t), connect(t)
				watcher.Subscribe(topic, 1)
				b := newBarrier(watcher)
				c := dial(t)
				c.Send(append(refused, Packet(0x31, topic, 0, []byte("x"))...))
				c.ExpectRefused(packet.BadAuthenticationMethod, packet.NotAuthorized, packet.MalformedPacket)
				b.Silent(witness)
				witness.Subscribe(topic, 1)
				witness.Ping() // and nothing was retained
			}
		}},
		{"v5/MQTT-3.2.0-1/before the answers to what is sent with CONNECT", func(t *testing.T) {
			c := dial(t)
			c.Send(connectPacket(cleanStart, Properties(), unique()), Packet(SUBSCRIBE, 0, 7, 0, unique(), 1), Packet(PINGREQ))
			c.ExpectConnack(packet.Success)
			c.Expect(mqtt3.Suback, 4, 0, 7, 0, 1)
			c.Expect(mqtt3.Pingresp, 0)
		}},
		{"v5/MQTT-3.2.0-1/before the messages of a session", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connectSession(t, id)
			old.Subscribe(topic, 1)
			old.Disconnect()
			connect(t).Publish(topic, "x", 1)
			connectSession(t, id).ExpectMessage(topic, "x", 1) // connectSession reads CONNACK
		}},
		{"v5/MQTT-3.2.0-2/a second CONNECT gets none", func(t *testing.T) {
			id := unique()
			c := connectSession(t, id)
			c.Send(connectPacket(0, Properties(), id))
			c.ExpectDisconnect(packet.ProtocolError)
		}},
		{"v5/MQTT-3.2.2-1/reserved flags", func(t *testing.T) {
			id := unique()
			for i := range byte(2) {
				c := dial(t)
				c.Send(connectPacket(0, Properties(0x11, Four(3600)), id))
				if p := c.Next(); p[0] != mqtt3.Connack || p[2] != i || p[3] != 0 {
					t.Fatalf("got % x, want CONNACK with flags %d", p, i)
				}
				c.Disconnect()
			}
		}},
		{"v5/MQTT-3.2.2-2/Clean Start", func(t *testing.T) {
			id := unique()
			connectSession(t, id).Disconnect()
			c := connectWith(t, packet.Connect{ClientID: []byte(id), CleanStart: true})
			if c.Connack.SessionPresent {
				t.Error("Session Present 1")
			}
		}},
		{"v5/MQTT-3.2.2-3/stored session", func(t *testing.T) {
			id := unique()
			for i := range 3 { // a session without subscriptions is one, too
				c := connectSession(t, id)
				if c.Connack.SessionPresent != (i > 0) {
					t.Errorf("connection %d: Session Present %t", i, c.Connack.SessionPresent)
				}
				c.Disconnect()
			}
		}},
		{"v5/MQTT-3.2.2-3/the session before ended with its connection", func(t *testing.T) {
			id := unique()
			connectWith(t, packet.Connect{ClientID: []byte(id)}).Disconnect()
			if connectSession(t, id).Connack.SessionPresent {
				t.Error("Session Present 1")
			}
		}},
		{"v5/MQTT-3.2.2-12/capabilities: every will QoS is taken", func(t *testing.T) {
			for qos := range packet.QoS(3) {
				c := connectWith(t, packet.Connect{HasWill: true, Will: packet.Will{QoS: qos, Topic: []byte(unique())}})
				if c.Connack.Properties.Has(packet.PropMaximumQoS) && c.Connack.Properties.MaximumQoS < qos {
					t.Errorf("will of QoS %d accepted, maximum is %d", qos, c.Connack.Properties.MaximumQoS)
				}
				c.Disconnect()
			}
		}},
		{"v5/MQTT-3.2.2-13/no retained messages", func(t *testing.T) {
			address := mqtt3.Serve(t, mqtt3.Tuned{NoRetained: true})
			c := Dial(t, address)
			c.Send(connectPacket(cleanStart|hasWill|willRetain, Properties(), unique(), Properties(), "a", "x"))
			c.ExpectRefused(packet.RetainNotSupported)
		}},
		{"v5/MQTT-3.2.2-14/RETAIN although not available", func(t *testing.T) {
			c := Connect(t, mqtt3.Serve(t, mqtt3.Tuned{NoRetained: true}), packet.Connect{CleanStart: true})
			if p := c.Connack.Properties; !p.Has(packet.PropRetainAvailable) || p.RetainAvailable {
				t.Error("CONNACK does not say that there are no retained messages")
			}
			c.Send(Packet(0x31, "a", 0, []byte("x")))
			c.ExpectDisconnect(packet.RetainNotSupported)
		}},
		{"v5/MQTT-3.2.2-18/no topic aliases", func(t *testing.T) {
			c := Connect(t, mqtt3.Serve(t, mqtt3.Tuned{NoAliases: true}), packet.Connect{CleanStart: true})
			if c.Connack.Properties.TopicAliasMaximum != 0 {
				t.Fatal("CONNACK allows topic aliases")
			}
			c.Send(publish("a", 0x23, 0, 1))
			c.ExpectDisconnect(packet.TopicAliasInvalid)
		}},
		{"v5/MQTT-3.2.2-17/one above the maximum", func(t *testing.T) {
			c := connect(t)
			c.Send(publish("a", 0x23, packet.ID(c.Connack.Properties.TopicAliasMaximum+1)))
			c.ExpectDisconnect(packet.TopicAliasInvalid)
		}},
		{"v5/MQTT-3.2.2-19/reason string within the maximum packet size", smallConnack},
		{"v5/MQTT-3.2.2-20/user properties within the maximum packet size", smallConnack},
		{"v5/MQTT-3.2.2-21/server keep-alive is in force", func(t *testing.T) {
			address := mqtt3.Serve(t, mqtt3.Tuned{KeepAlive: time.Second})
			for _, asked := range []uint16{0, 3600} {
				c := Connect(t, address, packet.Connect{CleanStart: true, KeepAlive: asked})
				if p := c.Connack.Properties; !p.Has(packet.PropServerKeepAlive) || p.ServerKeepAlive != 1 {
					t.Fatal("CONNACK has no server keep-alive of 1 s")
				}
				c.ExpectDisconnect(packet.KeepAliveTimeout)
			}
		}},
	})
}

func assignedIDs(t *testing.T) {
	seen := map[string]bool{}
	var all []*Client
	for range 5 {
		c := connectWith(t, packet.Connect{ClientID: []byte{}, CleanStart: true})
		id := string(c.Connack.Properties.AssignedClientID)
		if id == "" || seen[id] {
			t.Errorf("assigned client identifier %q is empty or used", id)
		}
		seen[id] = true
		all = append(all, c)
	}
	for _, c := range all {
		c.Ping() // none has taken over another's session
	}
	if connect(t).Connack.Properties.Has(packet.PropAssignedClientID) {
		t.Error("a client with an identifier is assigned another")
	}
}

// smallConnack is refused with ever smaller packets.
func smallConnack(t *testing.T) {
	for _, limit := range []uint32{5, 6, 10, 20, 30, 60, 1000} {
		c := dial(t)
		c.Send(connectPacket(cleanStart, Properties(0x27, Four(limit), 0x15, "no such method"), unique()))
		p := c.Next()
		if p[0] != mqtt3.Connack || p[3] < 0x80 || len(p) > int(limit) {
			t.Errorf("got % x, want a CONNACK that refuses, of at most %d bytes", p, limit)
		}
		c.ExpectEnd()
	}
}

func TestKeepAlive(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.1.2-22/silence", keepAliveEnds},
		{"v5/MQTT-3.2.2-22/the client's keep-alive", keepAliveEnds},
		{"v5/MQTT-3.1.2-22/PINGREQ in time", func(t *testing.T) {
			start := time.Now()
			c := connectWith(t, packet.Connect{CleanStart: true, KeepAlive: 3}) // so that a busy machine is not late
			tick := time.NewTicker(700 * time.Millisecond)
			defer tick.Stop()
			for time.Since(start) < 6*time.Second {
				<-tick.C
				c.Ping()
			}
		}},
		{"v5/MQTT-3.1.2-22/no keep-alive", func(t *testing.T) {
			idle := connect(t)
			connectWith(t, packet.Connect{CleanStart: true, KeepAlive: 1}).ExpectDisconnect(packet.KeepAliveTimeout)
			idle.Ping()
		}},
	})
}

func keepAliveEnds(t *testing.T) {
	watcher := connect(t)
	topic := unique()
	watcher.Subscribe(topic, 0)
	start := time.Now()
	c := connectWith(t, packet.Connect{
		CleanStart: true, KeepAlive: 1, HasWill: true,
		Will: packet.Will{Topic: []byte(topic), Payload: []byte("gone")},
	})
	if c.Connack.Properties.Has(packet.PropServerKeepAlive) {
		t.Error("CONNACK has a server keep-alive")
	}
	c.ExpectDisconnect(packet.KeepAliveTimeout)
	if d := time.Since(start); d < 1500*time.Millisecond {
		t.Errorf("closed after %v of silence, before one and a half times 1 s", d)
	}
	watcher.ExpectMessage(topic, "gone", 0)
}

// limited is a client with a Maximum Packet Size.
func limited(t *testing.T, id string, size uint32, receiveMaximum uint16) *Client {
	t.Helper()
	p := packet.Connect{ClientID: []byte(id), Properties: sessionExpiry(3600)}
	p.Properties.MaximumPacketSize, p.Properties.ReceiveMaximum = size, receiveMaximum
	p.Properties.Set(packet.PropMaximumPacketSize, packet.PropReceiveMaximum)
	return connectWith(t, p)
}

func TestMaximumPacketSize(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.1.2-24/to the byte", func(t *testing.T) {
			topic := unique()
			head := 2 + 2 + len(topic) + 1 // a PUBLISH of QoS 0 but for its payload
			c, publisher := limited(t, unique(), 64, 9), connect(t)
			c.Subscribe(topic, 0)
			fits := strings.Repeat("x", 64-head)
			publisher.Publish(topic, fits+"x", 0)
			publisher.Publish(topic, fits, 0)
			c.ExpectMessage(topic, fits, 0)
		}},
		{"v5/MQTT-3.1.2-25/as if it had been sent", func(t *testing.T) {
			for qos := range packet.QoS(3) {
				id, topic := unique(), unique()
				c, publisher := limited(t, id, 64, 1), connect(t)
				c.Subscribe(topic, qos)
				for i := range 3 { // more than the receive maximum
					publisher.Publish(topic, strings.Repeat("large", 20+i), qos)
				}
				publisher.Publish(topic, "small", qos)
				c.ExpectMessage(topic, "small", qos)
				c.Ping()
				c.Disconnect()
				limited(t, id, 1000, 1).Ping() // nor is it sent later
			}
		}},
		{"v5/MQTT-3.1.2-25/stored messages", func(t *testing.T) {
			id, topic := unique(), unique()
			c, publisher := limited(t, id, 1000, 1), connect(t)
			c.Subscribe(topic, 1)
			c.Disconnect()
			publisher.Publish(topic, strings.Repeat("large", 20), 1)
			publisher.Publish(topic, "small", 1)
			c = limited(t, id, 64, 1)
			c.ExpectMessage(topic, "small", 1)
			c.Ping()
		}},
		{"v5/MQTT-3.1.2-25/others get it", func(t *testing.T) {
			topic := unique()
			c, other, publisher := limited(t, unique(), 64, 1), connect(t), connect(t)
			c.Subscribe(topic, 1)
			other.Subscribe(topic, 1)
			large := strings.Repeat("large", 20)
			publisher.Publish(topic, large, 1)
			other.ExpectMessage(topic, large, 1)
			c.Ping()
		}},
	})
}

func TestAliasesFromServer(t *testing.T) {
	const topics = 12
	aliases := func(t *testing.T, maximum uint16) (most uint16) {
		p := packet.Connect{CleanStart: true}
		p.Properties.TopicAliasMaximum = maximum
		if maximum > 0 {
			p.Properties.Set(packet.PropTopicAliasMaximum)
		}
		c, publisher := connectWith(t, p), connect(t)
		base := unique()
		c.Subscribe(base+"/#", 1)
		known := map[uint16]string{}
		for i := range 3 * topics {
			topic := fmt.Sprintf("%s/a level that is long enough to pay/%d", base, i%topics)
			publisher.Publish(topic, topic, packet.QoS(i%2))
			m := c.Receive()
			alias := m.Properties.TopicAlias
			most = max(most, alias)
			got := string(m.Topic)
			switch {
			case got == "":
				got = known[alias]
			case alias > 0:
				known[alias] = got
			}
			if got != topic || string(m.Payload) != topic {
				t.Fatalf("got %q on %q, alias %d, want %q", m.Payload, got, alias, topic)
			}
		}
		return most
	}
	run(t, []test{
		{"v5/MQTT-3.1.2-26/at most the maximum", func(t *testing.T) {
			for _, maximum := range []uint16{1, 3, 65535} {
				if most := aliases(t, maximum); most > maximum {
					t.Errorf("alias %d, maximum is %d", most, maximum)
				}
			}
		}},
		{"v5/MQTT-3.3.2-11/at most the maximum", func(t *testing.T) {
			if most := aliases(t, 2); most > 2 {
				t.Errorf("alias %d, maximum is 2", most)
			}
		}},
		{"v5/MQTT-3.1.2-27/none", func(t *testing.T) {
			if most := aliases(t, 0); most > 0 {
				t.Errorf("alias %d without topic alias maximum", most)
			}
		}},
	})
}

// equalProperties compares what a receiver got with what was sent.
func equalProperties(t *testing.T, got packet.Publish, want packet.PublishProperties) {
	t.Helper()
	if !bytes.Equal(got.Properties.Forward, want.Forward) {
		t.Errorf("properties % x, want % x", got.Properties.Forward, want.Forward)
	}
}
