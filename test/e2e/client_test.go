//go:build integration && unix

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"midge/internal/packet"
)

// client speaks MQTT over a socket, one packet at a time. Its methods end the
// test on any surprise, so they are for the goroutine of the test.
type client struct {
	t    *testing.T
	conn net.Conn
	v    packet.Version
	in   []byte
	last int  // bytes of in that next has handed out
	kept bool // the server had the session (Session Present)
	id   packet.ID
}

// dial opens a connection and sends nothing.
func dial(t *testing.T, p *broker) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// connect opens a connection and a session; edit may change CONNECT.
func connect(t *testing.T, p *broker, v packet.Version, id string, edit func(*packet.Connect)) *client {
	t.Helper()
	c := &client{t: t, conn: dial(t, p), v: v}
	m := packet.Connect{Version: v, CleanStart: true, ClientID: []byte(id)}
	if edit != nil {
		edit(&m)
	}
	c.send(m.Append(nil))
	var ack packet.Connack
	c.expect(packet.CONNACK, func(first byte, body []byte) error { return ack.Decode(v, first, body) })
	if ack.Code != packet.Success {
		t.Fatalf("%s: CONNACK %v", id, ack.Code)
	}
	c.kept = ack.SessionPresent
	return c
}

func (c *client) send(b []byte) {
	c.t.Helper()
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next packet; the body is borrowed until the call after.
func (c *client) next() (first byte, body []byte, err error) {
	c.in = append(c.in[:0], c.in[c.last:]...)
	c.last = 0
	for {
		first, body, size, err := packet.Split(c.in, packet.MaxSize)
		if err != nil {
			return 0, nil, err
		}
		if size > 0 {
			c.last = size
			return first, body, nil
		}
		c.conn.SetReadDeadline(time.Now().Add(patience))
		var b [32 << 10]byte
		n, err := c.conn.Read(b[:])
		c.in = append(c.in, b[:n]...)
		if err != nil && n == 0 {
			return 0, nil, err
		}
	}
}

// expect reads the next packet, which must be of type want.
func (c *client) expect(want packet.Type, decode func(first byte, body []byte) error) {
	c.t.Helper()
	first, body, err := c.next()
	if err != nil {
		c.t.Fatalf("waiting for %v: %v", want, err)
	}
	if got := packet.TypeOf(first); got != want {
		c.t.Fatalf("got %v % x, want %v", got, body, want)
	}
	if err := decode(first, body); err != nil {
		c.t.Fatalf("%v: %v", want, err)
	}
}

// expectEnd waits for the end of the connection; no packet may come before.
func (c *client) expectEnd() {
	c.t.Helper()
	first, body, err := c.next()
	if err == nil {
		c.t.Fatalf("got %v % x, want the end of the connection", packet.TypeOf(first), body)
	}
	if !ended(err) {
		c.t.Fatal(err)
	}
}

// ended reports whether the peer has closed a connection.
func ended(err error) bool {
	var timeout net.Error
	return err != nil && (errors.Is(err, io.EOF) || !(errors.As(err, &timeout) && timeout.Timeout()))
}

func (c *client) nextID() packet.ID {
	c.id++
	if c.id == 0 {
		c.id = 1
	}
	return c.id
}

// subscribe subscribes and returns the granted QoS or the refusal.
func (c *client) subscribe(filter string, qos packet.QoS) packet.ReasonCode {
	c.t.Helper()
	m := packet.Subscribe{ID: c.nextID(), Subscriptions: []packet.Subscription{{Filter: []byte(filter), QoS: qos}}}
	c.send(m.Append(nil, c.v))
	var ack packet.Suback
	c.expect(packet.SUBACK, func(first byte, body []byte) error { return ack.Decode(c.v, first, body) })
	if ack.ID != m.ID || len(ack.Codes) != 1 {
		c.t.Fatalf("SUBACK %d with %v, want %d with one code", ack.ID, ack.Codes, m.ID)
	}
	return ack.Codes[0]
}

// publish sends a message and, for QoS 1, reads its PUBACK.
func (c *client) publish(topic string, payload []byte, qos packet.QoS) {
	c.t.Helper()
	m := packet.Publish{QoS: qos, Topic: []byte(topic), Payload: payload}
	if qos == 0 {
		c.send(m.Append(nil, c.v))
		return
	}
	m.ID = c.nextID()
	c.send(m.Append(nil, c.v))
	var ack packet.Ack
	c.expect(packet.PUBACK, func(first byte, body []byte) error { return ack.Decode(c.v, first, body) })
	if ack.ID != m.ID || ack.Code.Failed() {
		c.t.Fatalf("PUBACK %d with %v, want %d", ack.ID, ack.Code, m.ID)
	}
}

// receive returns the next message and acknowledges it.
func (c *client) receive() (topic, payload string) {
	c.t.Helper()
	var m packet.Publish
	c.expect(packet.PUBLISH, func(first byte, body []byte) error { return m.Decode(c.v, first, body) })
	topic, payload = string(m.Topic), string(m.Payload)
	if m.QoS == 1 {
		c.send((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, c.v))
	}
	return topic, payload
}

// pair is a publisher and a subscriber that must be served whatever others do.
type pair struct {
	pub, sub *client
	topic    string
	sent     int
}

func newPair(t *testing.T, p *broker, name string) *pair {
	t.Helper()
	pr := &pair{topic: "pair/" + name}
	pr.sub = connect(t, p, packet.V5, name+"-sub", nil)
	pr.pub = connect(t, p, packet.V311, name+"-pub", nil)
	if code := pr.sub.subscribe(pr.topic, 1); code != packet.GrantedQoS1 {
		t.Fatalf("SUBACK %v", code)
	}
	return pr
}

// served sends n messages, each after the one before has arrived.
func (pr *pair) served(n int) {
	pr.pub.t.Helper()
	for range n {
		pr.sent++
		want := fmt.Sprint("message ", pr.sent)
		pr.pub.publish(pr.topic, []byte(want), 1)
		if _, got := pr.sub.receive(); got != want {
			pr.pub.t.Fatalf("received %q, want %q", got, want)
		}
	}
}
