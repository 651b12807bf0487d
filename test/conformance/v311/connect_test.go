package v311

import (
	"strings"
	"testing"
	"time"

	. "midge/test/conformance/mqtt3"
)

// TestConnectRefused sends a CONNECT that gets a CONNACK with a return code,
// Session Present 0 and then the end of the connection.
func TestConnectRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []byte
		code byte
	}{
		{"v311/MQTT-3.1.2-2/level 0", Packet(0x10, "MQTT", 0, 2, 0, 0, unique()), 1},
		{"v311/MQTT-3.1.2-2/level 1", Packet(0x10, "MQTT", 1, 2, 0, 0, unique()), 1},
		{"v311/MQTT-3.1.2-2/level 2", Packet(0x10, "MQTT", 2, 2, 0, 0, unique()), 1},
		{"v311/MQTT-3.1.2-2/level 3, of another name", Packet(0x10, "MQTT", 3, 2, 0, 0, unique()), 1},
		{"v311/MQTT-3.1.3-7/empty identifier", connectPacket(Options{Session: true}), 2},
		{"v311/MQTT-3.1.3-8/empty identifier with Clean Session 0", connectPacket(Options{Session: true}), 2},
		{"v311/MQTT-3.1.3-9/refused identifier", connectPacket(Options{Session: true, Will: &Will{Topic: "a"}}), 2},
		{"v311/MQTT-3.2.2-4/level 1", Packet(0x10, "MQTT", 1, 0, 0, 0, unique()), 1},
		{"v311/MQTT-3.2.2-4/identifier", connectPacket(Options{Session: true}), 2},
		{"v311/MQTT-3.2.2-5/level 1", Packet(0x10, "MQTT", 1, 2, 0, 0, unique()), 1},
		{"v311/MQTT-3.2.2-5/identifier", connectPacket(Options{Session: true}), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t)
			c.Send(tt.send)
			c.Expect(Connack, 2, 0, tt.code)
			c.ExpectEnd()
		})
	}
}

func TestConnect(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.1.2-1/neither MQTT nor MQIsdp", func(t *testing.T) {
			for _, name := range []string{"", "MQTX", "mqtt", "MQTT ", "HTTP"} {
				c := dial(t)
				c.Send(Packet(0x10, name, 4, 2, 0, 0, unique()))
				if p, err := c.Read(); err == nil && (len(p) < 4 || p[0] != Connack || p[3] == 0) {
					t.Fatalf("%q: got % x, want a refusal or the end of the connection", name, p)
				} else if err == nil {
					c.ExpectEnd()
				}
			}
		}},
		{"v311/MQTT-3.1.3-1/all fields of the payload in their order", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 2)
			c := dial(t)
			flags := CleanSession | HasWill | WillQoS2 | HasUserName | HasPassword
			c.Send(Packet(0x10, connectHead(flags), unique(), topic, "will message", "user", "secret"))
			c.Expect(Connack, 2, 0, 0)
			c.Cut()
			watcher.ExpectMessage(Message{QoS: 2, Topic: topic, Payload: "will message"})
		}},
		{"v311/MQTT-3.1.3-5/letters and digits", func(t *testing.T) {
			const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			for _, id := range []string{all[:1], all[:23], all[23:46], all[39:]} {
				c := connect(t, Options{ID: id})
				c.Ping()
				c.Disconnect()
			}
		}},
		{"v311/MQTT-3.1.3-6/empty identifiers are replaced by unique ones", func(t *testing.T) {
			var all []*Client
			for range 3 {
				c := dial(t)
				c.Send(connectPacket(Options{}))
				c.Expect(Connack, 2, 0, 0)
				all = append(all, c)
			}
			for _, c := range all {
				c.Ping() // none has taken over another's session
			}
		}},
		{"v311/MQTT-3.1.3-6/the whole service", func(t *testing.T) {
			c := dial(t)
			c.Send(connectPacket(Options{}))
			c.Expect(Connack, 2, 0, 0)
			topic := unique()
			c.Subscribe(topic, 2)
			c.Publish(topic, "x", 1)
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.1.4-2/takeover", func(t *testing.T) {
			id := unique()
			first := connect(t, Options{ID: id})
			second := connect(t, Options{ID: id})
			first.ExpectEnd()
			second.Ping()
		}},
		{"v311/MQTT-3.1.4-2/takeover of a session", func(t *testing.T) {
			id, topic := unique(), unique()
			first := connect(t, Options{ID: id, Session: true})
			first.Subscribe(topic, 1)
			second, present := connectPresent(t, Options{ID: id, Session: true})
			first.ExpectEnd()
			if !present {
				t.Error("Session Present 0")
			}
			second.Publish(topic, "x", 0)
			second.ExpectMessage(Message{Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.1.4-3/Clean Session 1", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connect(t, Options{ID: id, Session: true})
			old.Subscribe(topic, 1)
			old.Disconnect()
			c := connect(t, Options{ID: id})
			b := newBarrier(c)
			c.Publish(topic, "x", 0)
			b.Silent(c)
		}},
		{"v311/MQTT-3.1.4-3/Clean Session 0", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connect(t, Options{ID: id, Session: true})
			old.Subscribe(topic, 1)
			old.Disconnect()
			c := connect(t, Options{ID: id, Session: true})
			c.Publish(topic, "x", 0)
			c.ExpectMessage(Message{Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.1.4-4/return code 0", func(t *testing.T) {
			c := dial(t)
			c.Send(connectPacket(Options{ID: unique()}))
			c.Expect(Connack, 2, 0, 0)
			c.Ping()
		}},
		{"v311/MQTT-3.1.4-5/what comes behind a refused CONNECT", func(t *testing.T) {
			topic := unique()
			watcher, witness := connect(t, Options{}), connect(t, Options{})
			watcher.Subscribe(topic, 1)
			b := newBarrier(watcher)
			c := dial(t)
			c.Offer(connectPacket(Options{Session: true}), Publish(0x31, topic, 0, "x"), Publish(0x32, topic, 1, "y"))
			c.Expect(Connack, 2, 0, 2)
			c.ExpectEnd()
			b.Silent(witness)
			witness.Subscribe(topic, 1)
			witness.Ping() // and nothing was retained
		}},
		{"v311/MQTT-3.1.4-5/what comes behind a malformed CONNECT", func(t *testing.T) {
			topic := unique()
			watcher, witness := connect(t, Options{}), connect(t, Options{})
			watcher.Subscribe(topic, 1)
			b := newBarrier(watcher)
			c := dial(t)
			c.Offer(Packet(0x10, connectHead(CleanSession|1), unique()), Publish(0x30, topic, 0, "x"))
			c.ExpectEnd()
			b.Silent(witness)
		}},
		{"v311/MQTT-3.2.0-1/before the answers to what is sent with CONNECT", func(t *testing.T) {
			c := dial(t)
			topic := unique()
			c.Send(connectPacket(Options{ID: unique()}), Packet(0x82, 0, 7, topic, 1), Publish(0x32, topic, 8, "x"), Pingreq())
			c.Expect(Connack, 2, 0, 0)
			c.Expect(Suback, 3, 0, 7, 1)
			got := map[string]int{}
			for range 3 { // the order of PUBLISH, PUBACK and PINGRESP is free
				got[string(c.Next()[:1])]++
			}
			if got["\x32"] != 1 || got["\x40"] != 1 || got["\xd0"] != 1 {
				t.Errorf("packets behind SUBACK by first byte: %v", got)
			}
		}},
		{"v311/MQTT-3.2.0-1/before the messages of a session", func(t *testing.T) {
			id, topic := unique(), unique()
			old := connect(t, Options{ID: id, Session: true})
			old.Subscribe(topic, 1)
			old.Disconnect()
			connect(t, Options{}).Publish(topic, "x", 1)
			c, _ := connectPresent(t, Options{ID: id, Session: true}) // reads CONNACK
			c.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-3.2.2-1/Clean Session 1 discards a session", func(t *testing.T) {
			id := unique()
			old := connect(t, Options{ID: id, Session: true})
			old.Subscribe(unique(), 1)
			old.Disconnect()
			if _, present := connectPresent(t, Options{ID: id}); present {
				t.Error("Session Present 1")
			}
		}},
		{"v311/MQTT-3.2.2-2/stored session", func(t *testing.T) {
			id := unique()
			connect(t, Options{ID: id, Session: true}).Disconnect()
			for range 2 { // a session without subscriptions is one, too
				c, present := connectPresent(t, Options{ID: id, Session: true})
				if !present {
					t.Error("Session Present 0")
				}
				c.Disconnect()
			}
		}},
		{"v311/MQTT-3.2.2-3/new client", func(t *testing.T) {
			if _, present := connectPresent(t, Options{ID: unique(), Session: true}); present {
				t.Error("Session Present 1")
			}
		}},
		{"v311/MQTT-3.2.2-3/the session before was of Clean Session 1", func(t *testing.T) {
			id := unique()
			connect(t, Options{ID: id}).Disconnect()
			if _, present := connectPresent(t, Options{ID: id, Session: true}); present {
				t.Error("Session Present 1")
			}
		}},
		{"v311/MQTT-3.2.2-6/no CONNACK for a malformed CONNECT", func(t *testing.T) {
			c := dial(t)
			c.Send(Packet(0x10, connectHead(CleanSession|HasWill|WillQoS3), unique(), "a", "x"))
			c.ExpectEnd()
		}},
		{"v311/MQTT-4.2.0-1/packets in pieces of one byte", func(t *testing.T) {
			c := dial(t)
			topic := unique()
			for _, b := range Join(connectPacket(Options{ID: unique()}), Packet(0x82, 0, 7, topic, 0), Publish(0x30, topic, 0, "x")) {
				c.Send([]byte{b})
			}
			c.Expect(Connack, 2, 0, 0)
			c.Expect(Suback, 3, 0, 7, 0)
			c.ExpectMessage(Message{Topic: topic, Payload: "x"})
		}},
		{"v311/MQTT-4.2.0-1/many packets at once", func(t *testing.T) {
			c := connect(t, Options{})
			topic := unique()
			c.Subscribe(topic, 0)
			const n = 200
			var all []byte
			for i := range n {
				all = append(all, Publish(0x30, topic, 0, strings.Repeat("x", i))...)
			}
			c.Send(all)
			for i := range n {
				c.ExpectMessage(Message{Topic: topic, Payload: strings.Repeat("x", i)})
			}
		}},
		{"v311/MQTT-7.1.1-1/a large message arrives whole and in order", func(t *testing.T) {
			c := connect(t, Options{})
			topic := unique()
			c.Subscribe(topic, 1)
			var large strings.Builder
			for large.Len() < 500_000 {
				large.WriteString(unique())
			}
			c.Send(Publish(0x32, topic, 9, large.String()))
			got := map[byte]bool{}
			for range 2 { // PUBACK and PUBLISH, in the order the server likes
				p := c.Next()
				got[p[0]] = true
				if p[0] == 0x32 && !strings.HasSuffix(string(p), large.String()) {
					t.Error("the payload has changed")
				}
			}
			if !got[Puback] || !got[0x32] {
				t.Errorf("first bytes %v, want PUBACK and PUBLISH", got)
			}
		}},
		{"v311/MQTT-7.0.0-2/CONNECT of the plainest kind", func(t *testing.T) {
			c := dial(t)
			c.Send([]byte{0x10, 0x0d, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'z'})
			c.Expect(Connack, 2, 0, 0)
			c.Ping()
			c.Disconnect()
		}},
	})
}

func TestKeepAlive(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.1.2-24/silence", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 0)
			start := time.Now()
			c := connect(t, Options{KeepAlive: 1, Will: &Will{Topic: topic, Payload: "gone"}})
			c.ExpectEnd()
			if d := time.Since(start); d < 1500*time.Millisecond {
				t.Errorf("closed after %v of silence, before one and a half times 1 s", d)
			}
			watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
		}},
		{"v311/MQTT-3.1.2-24/a packet in part is no packet", func(t *testing.T) {
			c := connect(t, Options{KeepAlive: 1})
			c.Send(Publish(0x30, "a", 0, "never complete")[:5])
			c.ExpectEnd()
		}},
		{"v311/MQTT-3.1.2-24/PINGREQ in time", func(t *testing.T) {
			start := time.Now()
			c := connect(t, Options{KeepAlive: 3}) // so that a busy machine is not late
			tick := time.NewTicker(700 * time.Millisecond)
			defer tick.Stop()
			for time.Since(start) < 6*time.Second {
				<-tick.C
				c.Ping()
			}
		}},
		{"v311/MQTT-3.1.2-24/no keep-alive", func(t *testing.T) {
			idle := connect(t, Options{KeepAlive: 0})
			connect(t, Options{KeepAlive: 1}).ExpectEnd() // as long as others' interval
			idle.Ping()
		}},
		{"v311/MQTT-3.12.4-1/PINGRESP", func(t *testing.T) {
			c := connect(t, Options{})
			c.Send(Pingreq())
			c.Expect(Pingresp, 0)
			c.Send(Pingreq(), Pingreq(), Pingreq())
			for range 3 {
				c.Expect(Pingresp, 0)
			}
		}},
	})
}

func TestDisconnect(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.14.4-2/what comes behind DISCONNECT is not processed", func(t *testing.T) {
			topic := unique()
			watcher, witness := connect(t, Options{}), connect(t, Options{})
			watcher.Subscribe(topic, 0)
			b := newBarrier(watcher)
			c := connect(t, Options{})
			c.Offer(Disconnect(), Publish(0x30, topic, 0, "x"), Pingreq())
			c.ExpectEnd()
			b.Silent(witness)
		}},
		{"v311/MQTT-3.14.1-1/reserved bits: no DISCONNECT, so the will stands", func(t *testing.T) {
			for _, first := range []byte{0xe1, 0xe2, 0xe8} {
				topic := unique()
				watcher := connect(t, Options{})
				watcher.Subscribe(topic, 0)
				c := connect(t, Options{Will: &Will{Topic: topic, Payload: "gone"}})
				c.Send([]byte{first, 0})
				c.ExpectEnd()
				watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
			}
		}},
		{"v311/MQTT-4.8.0-1/a violation harms nobody else", func(t *testing.T) {
			topic := unique()
			watcher, witness := connect(t, Options{}), connect(t, Options{})
			watcher.Subscribe(topic, 1)
			watcher.Subscribe(topic+"/will", 1)
			c := connect(t, Options{Will: &Will{Topic: topic + "/will", Payload: "gone", QoS: 1}})
			c.Offer(Publish(0x32, topic, 3, "first"), Publish(0x36, topic, 4, "bad"), Publish(0x32, topic, 5, "late"))
			watcher.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "first"})
			watcher.ExpectMessage(Message{QoS: 1, Topic: topic + "/will", Payload: "gone"})
			witness.Publish(topic, "after", 1)
			watcher.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "after"})
		}},
		{"v311/MQTT-4.8.0-2/a packet larger than the server takes", func(t *testing.T) {
			c, witness := connect(t, Options{}), connect(t, Options{})
			c.Offer([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, make([]byte, 1000))
			c.ExpectEnd()
			witness.Ping()
		}},
	})
}
