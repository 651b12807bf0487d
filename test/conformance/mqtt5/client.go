// Package mqtt5 is a client of MQTT 5.0, for tests that prove what a server does
// by the bytes on the wire. It adds to package mqtt3 what 5.0 is about:
// properties and reason codes.
package mqtt5

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"midge/internal/packet"
	"midge/test/conformance/mqtt3"
	"midge/test/wire"
)

// Client speaks MQTT 5.0 over a socket. Its methods end the test on any
// surprise, so they are for the goroutine of the test.
type Client struct {
	*mqtt3.Client // packets as bytes

	Connack packet.Connack // what accepted the client; its slices are its own

	t *testing.T
}

// Dial opens a connection and sends nothing.
func Dial(t *testing.T, addr string) *Client {
	t.Helper()
	return &Client{Client: mqtt3.Dial(t, addr), t: t}
}

// Connect opens a connection that the server accepts. The CONNECT is of 5.0
// whatever its Version says.
func Connect(t *testing.T, addr string, p packet.Connect) *Client {
	t.Helper()
	c := Dial(t, addr)
	c.Send(ConnectPacket(p))
	c.Connack = c.ExpectConnack(packet.Success)
	return c
}

// Decode reads the next packet, which must be of type t, into p, a pointer to
// the packet's struct or nil. What p gets is its own. The bytes are read by
// package wire, which is strict: what a server must not send ends the test.
func (c *Client) Decode(t packet.Type, p any) {
	c.t.Helper()
	b := c.Next()
	w, size, err := wire.Read(b, wire.V5)
	if err != nil || size != len(b) {
		c.t.Fatalf("got % x: %v", b, err)
	}
	if packet.Type(w.Type) != t {
		c.t.Fatalf("got % x, want %v", b, t)
	}
	if err := fill(p, &w); err != nil {
		c.t.Fatalf("got % x: %v", b, err)
	}
}

// ExpectConnack reads the next packet, a CONNACK with this code.
func (c *Client) ExpectConnack(code packet.ReasonCode) (ack packet.Connack) {
	c.t.Helper()
	c.Decode(packet.CONNACK, &ack)
	if ack.Code != code {
		c.t.Fatalf("CONNACK says %v (%s), want %v", ack.Code, ack.Properties.ReasonString, code)
	}
	return ack
}

// ExpectRefused waits for a CONNACK with one of these codes and the end of the
// connection.
func (c *Client) ExpectRefused(codes ...packet.ReasonCode) {
	c.t.Helper()
	var ack packet.Connack
	c.Decode(packet.CONNACK, &ack)
	c.wantCode("CONNACK", ack.Code, codes)
	if ack.SessionPresent {
		c.t.Error("CONNACK that refuses has Session Present 1")
	}
	c.ExpectEnd()
}

// ExpectDisconnect waits for a DISCONNECT with one of these codes and the end of
// the connection.
func (c *Client) ExpectDisconnect(codes ...packet.ReasonCode) (d packet.Disconnect) {
	c.t.Helper()
	c.Decode(packet.DISCONNECT, &d)
	c.wantCode("DISCONNECT", d.Code, codes)
	if d.Properties.Has(packet.PropSessionExpiry) {
		c.t.Error("DISCONNECT of a server has a Session Expiry Interval") // MQTT-3.14.2-2
	}
	c.ExpectEnd()
	return d
}

func (c *Client) wantCode(what string, got packet.ReasonCode, want []packet.ReasonCode) {
	c.t.Helper()
	for _, code := range want {
		if got == code {
			return
		}
	}
	c.t.Fatalf("%s says %v, want one of %v", what, got, want)
}

// Disconnect ends the connection in good order and waits until the server has
// closed it, so that the session is detached when it returns.
func (c *Client) Disconnect() {
	c.t.Helper()
	c.DisconnectWith(packet.NormalDisconnection)
}

// DisconnectWith is Disconnect with a reason code.
func (c *Client) DisconnectWith(code packet.ReasonCode) {
	c.t.Helper()
	d := packet.Disconnect{Code: code}
	c.Send(d.Append(nil, packet.V5))
	c.ExpectEnd()
}

// Subscribe subscribes and expects to be granted qos.
func (c *Client) Subscribe(filter string, qos packet.QoS) {
	c.t.Helper()
	c.SubscribeWith(0, packet.Subscription{Filter: []byte(filter), QoS: qos})
}

// SubscribeWith subscribes, with a subscription identifier unless that is 0,
// and expects to be granted what it asks for. Retained messages, which the
// server may send before SUBACK, come with the next call of Receive.
func (c *Client) SubscribeWith(identifier uint32, all ...packet.Subscription) {
	c.t.Helper()
	p := packet.Subscribe{ID: c.NextID(), Subscriptions: all}
	if identifier != 0 {
		p.Properties.SubscriptionIDs = []uint32{identifier}
	}
	c.Send(p.Append(nil, packet.V5))
	var ack packet.Suback
	c.await(packet.SUBACK, &ack)
	if ack.ID != p.ID || len(ack.Codes) != len(all) {
		c.t.Fatalf("got SUBACK %d with codes %v, want %d with %d codes", ack.ID, ack.Codes, p.ID, len(all))
	}
	for i, s := range all {
		if ack.Codes[i] != packet.ReasonCode(s.QoS) {
			c.t.Fatalf("SUBACK says %v for %s, want QoS %d", ack.Codes[i], s.Filter, s.QoS)
		}
	}
}

// Unsubscribe ends a subscription that there is.
func (c *Client) Unsubscribe(filter string) {
	c.t.Helper()
	p := packet.Unsubscribe{ID: c.NextID(), Filters: [][]byte{[]byte(filter)}}
	c.Send(p.Append(nil, packet.V5))
	var ack packet.Unsuback
	c.await(packet.UNSUBACK, &ack)
	if ack.ID != p.ID || !reflect.DeepEqual(ack.Codes, []packet.ReasonCode{packet.Success}) {
		c.t.Fatalf("got UNSUBACK %d with codes %v, want %d with success", ack.ID, ack.Codes, p.ID)
	}
}

// await is Decode that lets PUBLISH packets pass: they come again with Next.
func (c *Client) await(t packet.Type, p any) {
	c.t.Helper()
	var passed [][]byte
	for {
		b := c.Next()
		if packet.TypeOf(b[0]) == packet.PUBLISH && t != packet.PUBLISH {
			passed = append(passed, b)
			continue
		}
		c.Kept = append([][]byte{b}, c.Kept...)
		c.Decode(t, p)
		c.Kept = append(passed, c.Kept...)
		return
	}
}

// AwaitAck waits for one of the packets that answer a PUBLISH; PUBLISH packets
// before it come again with Next.
func (c *Client) AwaitAck(t packet.Type, id packet.ID) packet.Ack {
	c.t.Helper()
	var ack packet.Ack
	c.await(t, &ack)
	if ack.ID != id {
		c.t.Fatalf("got %v %d, want %d", t, ack.ID, id)
	}
	return ack
}

// SendAck sends one of the packets that answer a PUBLISH.
func (c *Client) SendAck(t packet.Type, id packet.ID, code packet.ReasonCode) {
	c.t.Helper()
	ack := packet.Ack{Type: t, ID: id, Code: code}
	c.Send(ack.Append(nil, packet.V5))
}

// Publish sends a message and completes its exchange.
func (c *Client) Publish(topic, payload string, qos packet.QoS) {
	c.t.Helper()
	c.PublishWith(packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos})
}

// Retain is Publish with RETAIN 1. The server has processed the message when it
// returns.
func (c *Client) Retain(topic, payload string, qos packet.QoS) {
	c.t.Helper()
	c.PublishWith(packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Retain: true})
	c.PingAmong()
}

// PublishWith sends a message, with an unused packet identifier, and completes
// its exchange, which must succeed.
func (c *Client) PublishWith(p packet.Publish) {
	c.t.Helper()
	if p.QoS > 0 {
		p.ID = c.NextID()
	}
	c.Send(p.Append(nil, packet.V5))
	succeed := func(ack packet.Ack) {
		c.t.Helper()
		if ack.Code.Failed() {
			c.t.Fatalf("%v says %v", ack.Type, ack.Code)
		}
	}
	switch p.QoS {
	case 1:
		succeed(c.AwaitAck(packet.PUBACK, p.ID))
	case 2:
		succeed(c.AwaitAck(packet.PUBREC, p.ID))
		c.SendAck(packet.PUBREL, p.ID, packet.Success)
		succeed(c.AwaitAck(packet.PUBCOMP, p.ID))
	}
}

// PingAmong is Ping that lets PUBLISH packets pass: they come again with Next.
func (c *Client) PingAmong() {
	c.t.Helper()
	c.Send(mqtt3.Pingreq())
	c.await(packet.PINGRESP, nil)
}

// Message reads the next packet, a PUBLISH, and does not acknowledge it.
func (c *Client) Message() (p packet.Publish) {
	c.t.Helper()
	c.Decode(packet.PUBLISH, &p)
	if (p.QoS > 0) != (p.ID > 0) {
		c.t.Fatalf("PUBLISH of QoS %d with packet identifier %d", p.QoS, p.ID)
	}
	return p
}

// Receive reads the next packet, a PUBLISH, and completes its exchange.
func (c *Client) Receive() packet.Publish {
	c.t.Helper()
	p := c.Message()
	switch p.QoS {
	case 1:
		c.SendAck(packet.PUBACK, p.ID, packet.Success)
	case 2:
		c.SendAck(packet.PUBREC, p.ID, packet.Success)
		c.AwaitAck(packet.PUBREL, p.ID)
		c.SendAck(packet.PUBCOMP, p.ID, packet.Success)
	}
	return p
}

// ExpectMessage is Receive of a message with this topic, payload and QoS, with
// DUP and RETAIN 0.
func (c *Client) ExpectMessage(topic, payload string, qos packet.QoS) packet.Publish {
	c.t.Helper()
	return c.expect(packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos})
}

// ExpectRetained is ExpectMessage with RETAIN 1.
func (c *Client) ExpectRetained(topic, payload string, qos packet.QoS) packet.Publish {
	c.t.Helper()
	return c.expect(packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Retain: true})
}

func (c *Client) expect(want packet.Publish) packet.Publish {
	c.t.Helper()
	got := c.Receive()
	if got.QoS != want.QoS || got.Retain != want.Retain || got.Dup ||
		!bytes.Equal(got.Topic, want.Topic) || !bytes.Equal(got.Payload, want.Payload) {
		c.t.Fatalf("got %s, want %s", describe(got), describe(want))
	}
	return got
}

func describe(p packet.Publish) string {
	return fmt.Sprintf("%.99q on %.99q with QoS %d, DUP %t, RETAIN %t", p.Payload, p.Topic, p.QoS, p.Dup, p.Retain)
}
