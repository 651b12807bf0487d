package client

import (
	"io"
	"net"
	"testing"

	"midge/internal/packet"
)

// TestSessionAcrossConnections proves that a message of QoS 2 that comes again
// after a lost connection is received once.
func TestSessionAcrossConnections(t *testing.T) {
	const publish, again = "\x32\x09\x00\x01t\x00\x05\x00one", "\x3c\x09\x00\x01t\x00\x05\x00one"
	turn := make(chan string, 2)
	turn <- "\x20\x03\x00\x00\x00" + "\x34" + publish[1:]
	turn <- "\x20\x03\x01\x00\x00" + again
	got := make(chan packet.Type, 10)
	address := hostport(t, func(nc net.Conn) {
		if next(t, nc) != packet.CONNECT {
			return
		}
		io.WriteString(nc, <-turn)
		got <- next(t, nc)
		if len(turn) > 0 {
			return // the connection is lost
		}
		io.WriteString(nc, "\x62\x02\x00\x05")
		got <- next(t, nc)
		next(t, nc)
	})
	received, session := make(chan Message, 10), NewSession()
	for _, want := range [][]packet.Type{{packet.PUBREC}, {packet.PUBREC, packet.PUBCOMP}} {
		c, err := Connect(soon(t), Options{Address: "mqtt://" + address, ClientID: "c", SessionExpiry: 60, Session: session, Received: func(m Message) { received <- m }})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if p := take(t, got); p != w {
				t.Errorf("the client sent %v, want %v", p, w)
			}
		}
		c.Close()
	}
	if m := take(t, received); string(m.Payload) != "one" || len(received) > 0 {
		t.Errorf("received %+v, and %d more", m, len(received))
	}
}

// next reads a packet of the client and returns its type, 0 at the end.
func next(t *testing.T, nc net.Conn) packet.Type {
	var head [2]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return 0
	}
	if head[1] >= 0x80 {
		t.Error("a packet longer than expected")
		return 0
	}
	if _, err := io.CopyN(io.Discard, nc, int64(head[1])); err != nil {
		return 0
	}
	return packet.TypeOf(head[0])
}
