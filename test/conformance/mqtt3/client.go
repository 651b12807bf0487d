// Package mqtt3 is a raw client of MQTT 3.1 and 3.1.1, for tests that prove what
// a server does by the bytes on the wire. It encodes by itself what it sends,
// also what the standard forbids.
package mqtt3

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/test/wire"
)

// patience is how long a test waits for what must come. It only runs out where
// a test fails.
const patience = 5 * time.Minute

// Client speaks MQTT 3.1 or 3.1.1 over a connection. Its methods end the test on any
// surprise, so they are for the goroutine of the test.
type Client struct {
	Conn net.Conn
	Kept [][]byte // packets that Read returns first: those that Await let pass

	t     *testing.T
	*link // below Conn
	in    []byte
	id    packet.ID // of the last packet that Subscribe, Publish and so on sent
}

// Dial opens a connection and sends nothing. addr is what Main and Serve give.
func Dial(t *testing.T, addr string) *Client {
	t.Helper()
	conn, l, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &Client{t: t, Conn: conn, link: l}
}

// Connect opens a connection that the server accepts. present is the Session
// Present flag of CONNACK, a reserved bit in 3.1.
func Connect(t *testing.T, addr string, o Options) (c *Client, present bool) {
	t.Helper()
	c = Dial(t, addr)
	c.Send(o.Packet())
	ack := c.Next()
	if len(ack) != 4 || ack[0] != Connack || ack[1] != 2 || ack[2] > 1 || ack[3] != 0 {
		t.Fatalf("got % x, want a CONNACK that accepts", ack)
	}
	return c, ack[2] == 1
}

// Send writes packets.
func (c *Client) Send(packets ...[]byte) {
	c.t.Helper()
	c.Conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Conn.Write(slices.Concat(packets...)); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

// Offer is Send to a server that may have closed the connection.
func (c *Client) Offer(packets ...[]byte) {
	c.Conn.SetWriteDeadline(time.Now().Add(patience))
	c.Conn.Write(slices.Concat(packets...)) // the test reads what became of it
}

// Next returns the next packet as it came.
func (c *Client) Next() []byte {
	c.t.Helper()
	p, err := c.Read()
	if err != nil {
		c.t.Fatalf("waiting for a packet: %v", err)
	}
	return p
}

// Read is Next that hands on the end of the connection.
func (c *Client) Read() ([]byte, error) {
	if len(c.Kept) > 0 {
		p := c.Kept[0]
		c.Kept = c.Kept[1:]
		return p, nil
	}
	return c.readNew()
}

func (c *Client) readNew() ([]byte, error) {
	for {
		_, size, err := wire.Split(c.in)
		if err != nil {
			return nil, err
		}
		if size > 0 {
			p := bytes.Clone(c.in[:size])
			c.in = c.in[size:]
			return p, nil
		}
		c.Conn.SetReadDeadline(time.Now().Add(patience))
		var b [4 << 10]byte
		n, err := c.Conn.Read(b[:])
		c.in = append(c.in, b[:n]...)
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// Expect reads the next packet, which must be exactly this.
func (c *Client) Expect(want ...byte) {
	c.t.Helper()
	if got := c.Next(); !bytes.Equal(got, want) {
		c.t.Fatalf("got % x, want % x", got, want)
	}
}

// ExpectAck is Expect of a packet that has nothing but a packet identifier.
func (c *Client) ExpectAck(first byte, id packet.ID) {
	c.t.Helper()
	c.Expect(first, 2, byte(id>>8), byte(id))
}

// Await is ExpectAck that lets PUBLISH packets pass: they come again with Next.
// Messages may come between the packets of an exchange.
func (c *Client) Await(first byte, id packet.ID, codes ...byte) {
	c.t.Helper()
	for {
		p, err := c.readNew()
		if err != nil {
			c.t.Fatalf("waiting for a packet: %v", err)
		}
		if packet.TypeOf(p[0]) != packet.PUBLISH {
			if want := Packet(first, id, codes); !bytes.Equal(p, want) {
				c.t.Fatalf("got % x, want % x", p, want)
			}
			return
		}
		c.Kept = append(c.Kept, p)
	}
}

// ExpectEnd waits for the end of the connection; nothing may come before it.
func (c *Client) ExpectEnd() {
	c.t.Helper()
	p, err := c.Read()
	var timeout net.Error
	switch {
	case err == nil:
		c.t.Fatalf("got % x, want the end of the connection", p)
	case errors.As(err, &timeout) && timeout.Timeout():
		c.t.Fatal("the server leaves the connection open")
	case len(c.in) > 0:
		c.t.Fatalf("the connection ended within a packet: % x", c.in)
	case !errors.Is(err, io.EOF) && !errors.As(err, &timeout):
		c.t.Fatal(err)
	}
}

// Ping proves that the connection works and that nothing else has come.
func (c *Client) Ping() {
	c.t.Helper()
	c.Send(Pingreq())
	c.Expect(Pingresp, 0)
}

// Disconnect ends the connection in good order and waits until the server has
// closed it, so that the session is detached when it returns.
func (c *Client) Disconnect() {
	c.t.Helper()
	c.Send(Disconnect())
	c.ExpectEnd()
}

// CloseWrite ends the client's half of the connection. The server sees its end
// and can still be read.
func (c *Client) CloseWrite() {
	c.t.Helper()
	if err := c.closeWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// NextID is a packet identifier that the client has not used.
func (c *Client) NextID() packet.ID {
	c.id++
	return c.id
}

// Subscribe subscribes and expects to be granted qos.
func (c *Client) Subscribe(filter string, qos byte) {
	c.t.Helper()
	id := c.NextID()
	c.Send(Packet(0x82, id, filter, int(qos)))
	c.Expect(Suback, 3, byte(id>>8), byte(id), qos)
}

// Unsubscribe unsubscribes.
func (c *Client) Unsubscribe(filter string) {
	c.t.Helper()
	id := c.NextID()
	c.Send(Packet(0xa2, id, filter))
	c.ExpectAck(Unsuback, id)
}

// Publish sends a message and completes its exchange.
func (c *Client) Publish(topic, payload string, qos byte) {
	c.t.Helper()
	c.exchange(0x30|qos<<1, topic, payload)
}

// Retain is Publish with RETAIN 1.
func (c *Client) Retain(topic, payload string, qos byte) {
	c.t.Helper()
	c.exchange(0x31|qos<<1, topic, payload)
}

func (c *Client) exchange(first byte, topic, payload string) {
	c.t.Helper()
	qos := first >> 1 & 3
	if qos == 0 {
		c.Send(Publish(first, topic, 0, payload))
		return
	}
	id := c.NextID()
	c.Send(Publish(first, topic, id, payload))
	if qos == 1 {
		c.Await(Puback, id)
		return
	}
	c.Await(Pubrec, id)
	c.Send(Packet(Pubrel, id))
	c.Await(Pubcomp, id)
}

// Message is a PUBLISH from the server.
type Message struct {
	Dup, Retain    bool
	QoS            byte
	ID             packet.ID // 0 at QoS 0
	Topic, Payload string
}

// Message reads the next packet, a PUBLISH, and does not acknowledge it.
func (c *Client) Message() (m Message) {
	c.t.Helper()
	p := c.Next()
	first := p[0]
	body, _, _ := wire.Split(p)
	if packet.TypeOf(first) != packet.PUBLISH {
		c.t.Fatalf("got % x, want PUBLISH", p)
	}
	m.Dup, m.QoS, m.Retain = first&8 != 0, first>>1&3, first&1 != 0
	take := func(n int) []byte {
		if len(body) < n {
			c.t.Fatalf("PUBLISH ends within a field: % x", p)
		}
		b := body[:n]
		body = body[n:]
		return b
	}
	m.Topic = string(take(int(binary.BigEndian.Uint16(take(2)))))
	if m.QoS > 0 {
		m.ID = packet.ID(binary.BigEndian.Uint16(take(2)))
		if m.ID == 0 {
			c.t.Fatalf("PUBLISH with packet identifier 0: % x", p)
		}
	}
	m.Payload = string(body)
	return m
}

// Receive reads the next packet, a PUBLISH, and completes its exchange.
func (c *Client) Receive() Message {
	c.t.Helper()
	m := c.Message()
	switch m.QoS {
	case 1:
		c.Send(Packet(Puback, m.ID))
	case 2:
		c.Send(Packet(Pubrec, m.ID))
		c.Await(Pubrel, m.ID)
		c.Send(Packet(Pubcomp, m.ID))
	}
	return m
}

// ExpectMessage is Receive of a message that is compared but for its packet
// identifier.
func (c *Client) ExpectMessage(want Message) {
	c.t.Helper()
	got := c.Receive()
	got.ID = 0
	if got != want {
		c.t.Fatalf("got %+v, want %+v", got, want)
	}
}
