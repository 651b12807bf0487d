//go:build integration && unix

package e2e

import (
	"strings"
	"testing"

	"midge/internal/packet"
)

// TestOrdinaryClients proves that the defaults are out of the way of clients that
// go as far as the standard lets them: the longest topic and the deepest one that
// people use, with messages that last, over a restart.
func TestOrdinaryClients(t *testing.T) {
	for name, down := range downs {
		t.Run(name, func(t *testing.T) {
			topics := map[string]bool{
				strings.Repeat("é", 65_534/2) + "x":    true, // 65,535 bytes
				"deep" + strings.Repeat("/x", 199):     true, // 200 levels
				"deep" + strings.Repeat("/", 199):      true,
				"deep/\x01" + strings.Repeat("y", 999): true,
			}
			dir := t.TempDir()
			p := serveIn(t, dir)
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				away := connect(t, p, v, "away "+v.String(), func(c *packet.Connect) {
					if c.CleanStart = false; v == packet.V5 {
						lasting(3600)(c)
					}
				})
				for topic := range topics {
					if code := away.subscribe(topic, 1); code.Failed() {
						t.Errorf("%v: subscribe to %d bytes: %v", v, len(topic), code)
					}
				}
				away.conn.Close()
			}
			pub := connect(t, p, packet.V5, "pub", nil)
			for topic := range topics {
				pub.publish(topic, []byte("m"), 1)
			}
			down(p)

			p = serveIn(t, dir)
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				away := connect(t, p, v, "away "+v.String(), func(c *packet.Connect) {
					if c.CleanStart = false; v == packet.V5 {
						lasting(3600)(c)
					}
				})
				got := map[string]bool{}
				for range topics {
					topic, _ := away.receive()
					got[topic] = true
				}
				for topic := range topics {
					if !got[topic] {
						t.Errorf("%v: nothing came for a topic of %d bytes", v, len(topic))
					}
				}
			}
		})
	}
}

// TestReceiveMaximumByDefault proves that a client learns a number that it was
// seen to live with.
func TestReceiveMaximumByDefault(t *testing.T) {
	p := serve(t, "--memory")
	c := &client{t: t, conn: dial(t, p), v: packet.V5}
	c.send((&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: []byte("c")}).Append(nil))
	var ack packet.Connack
	c.expect(packet.CONNACK, func(first byte, body []byte) error { return ack.Decode(c.v, first, body) })
	if most := ack.Properties.ReceiveMaximum; !ack.Properties.Has(packet.PropReceiveMaximum) || most < 10 || most > 100 {
		t.Errorf("Receive Maximum %d, which nobody else sends", most)
	}
}

// TestSmallestPacketSize serves clients with the smallest limits.packet_size, and
// ends those that send more.
func TestSmallestPacketSize(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine, "--set", "limits.packet_size=50")
		sub := connect(t, p, packet.V5, "sub", lasting(60))
		sub.subscribe("t", 1)
		pub := connect(t, p, packet.V5, "pub", nil)
		m := packet.Publish{Topic: []byte("t"), QoS: 1, ID: pub.nextID()}
		m.Payload = make([]byte, 50-len(m.Append(nil, packet.V5)))
		pub.send(m.Append(nil, packet.V5))
		pub.ack(packet.PUBACK, m.ID)
		if _, payload := sub.receive(); len(payload) != len(m.Payload) {
			t.Errorf("%d bytes came, want %d", len(payload), len(m.Payload))
		}
		m.ID, m.Payload = pub.nextID(), append(m.Payload, 'x')
		pub.send(m.Append(nil, packet.V5))
		var d packet.Disconnect
		pub.expect(packet.DISCONNECT, func(first byte, body []byte) error { return d.Decode(pub.v, first, body) })
		if d.Code != packet.PacketTooLarge {
			t.Errorf("51 bytes: %v, want %v", d.Code, packet.PacketTooLarge)
		}
		newPair(t, p, "p").served(3)
	})
}

// TestLongestTopic keeps messages of the longest topic, retained and for a
// client that is away, over a kill.
func TestLongestTopic(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dir, topic := t.TempDir(), strings.Repeat("t", 65_535)
		p := serveIn(t, dir, "--set", engine)
		sub := connect(t, p, packet.V5, "sub", lasting(3600))
		sub.subscribe(topic, 1)
		sub.conn.Close()
		pub := connect(t, p, packet.V5, "pub", nil)
		m := packet.Publish{QoS: 1, Retain: true, ID: pub.nextID(), Topic: []byte(topic), Payload: []byte("kept")}
		pub.send(m.Append(nil, pub.v))
		pub.ack(packet.PUBACK, m.ID)
		p.Kill()
		p = serveIn(t, dir, "--set", engine)
		again := connect(t, p, packet.V5, "sub", lasting(3600))
		fresh := connect(t, p, packet.V5, "fresh", nil)
		fresh.subscribe(topic, 1)
		for _, c := range []*client{again, fresh} {
			if got, payload := c.receive(); got != topic || payload != "kept" {
				t.Errorf("%d bytes of topic, %q", len(got), payload)
			}
		}
	})
}
