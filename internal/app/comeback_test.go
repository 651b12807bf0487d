package app_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"midge/internal/app/apptest"
	"midge/internal/config"
	"midge/internal/packet"
)

// TestComeBack lets a client with a will publish, disconnect, and come back at
// once under its id, many times. Each message must arrive, and no will.
func TestComeBack(t *testing.T) {
	const rounds = 200
	for _, engine := range []string{"epoll", "goroutine"} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			t.Run(engine+"/"+v.String(), func(t *testing.T) {
				address := apptest.Serve(t, config.Given{Key: "engine", Values: []string{engine}}, config.Given{Key: "sys.interval", Values: []string{"0s"}})
				watcher := hello(t, address, &packet.Connect{Version: v, ClientID: []byte("watcher"), CleanStart: true})
				write(t, watcher, (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("#")}}}).Append(nil, v))
				if got, _ := read(t, watcher); got != packet.SUBACK {
					t.Fatalf("got %v, want SUBACK", got)
				}
				connect := &packet.Connect{
					Version: v, ClientID: []byte("twin"), CleanStart: true, HasWill: true,
					Will: packet.Will{Topic: []byte("will"), Payload: []byte("a false will")},
				}
				for i := range rounds {
					c := hello(t, address, connect)
					m := packet.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i)}
					write(t, c, (&packet.Disconnect{}).Append(m.Append(nil, v), v))
					c.Close()
				}
				for i := range rounds {
					kind, body := read(t, watcher)
					var m packet.Publish
					if err := m.Decode(v, byte(kind)<<4, body); err != nil {
						t.Fatal(err)
					}
					if want := fmt.Sprint(i); string(m.Payload) != want {
						t.Fatalf("got %q, want message %s", m.Payload, want)
					}
				}
			})
		}
	}
}

// hello connects a client.
func hello(t *testing.T, address string, connect *packet.Connect) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	write(t, c, connect.Append(nil))
	if got, body := read(t, c); got != packet.CONNACK || body[1] != 0 {
		t.Fatalf("got %v % x, want CONNACK", got, body)
	}
	return c
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// read reads a packet of less than 128 bytes.
func read(t *testing.T, c net.Conn) (packet.Type, []byte) {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return packet.TypeOf(head[0]), body
}
