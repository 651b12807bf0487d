package client

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// socks runs a SOCKS5 proxy (RFC 1928, 1929) that knows one user, and one host,
// broker.test, which is the backend.
func socks(t *testing.T, backend string) (address string) {
	t.Helper()
	return hostport(t, func(nc net.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			if _, err := io.ReadFull(nc, b); err != nil {
				return make([]byte, n) // no greeting has such a byte first
			}
			return b
		}
		if head := read(2); head[0] != 5 || !strings.Contains(string(read(int(head[1]))), "\x02") {
			nc.Write([]byte{5, 0xff}) // no method that we have
			return
		}
		nc.Write([]byte{5, 2})
		user := string(read(int(read(2)[1])))
		password := string(read(int(read(1)[0])))
		if user != "me" || password != "secret" {
			nc.Write([]byte{1, 1})
			return
		}
		nc.Write([]byte{1, 0})
		request := read(5) // version, CONNECT, reserved, a host by name, its length
		host := string(read(int(request[4])))
		port := binary.BigEndian.Uint16(read(2))
		if _, known, _ := net.SplitHostPort(backend); host != "broker.test" || strconv.Itoa(int(port)) != known {
			nc.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0}) // host unreachable
			return
		}
		nc.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		join(t, nc, backend)
	})
}

// TestProxy proves that a connection goes through a proxy, which looks up the
// host, and that errors tell whose they are.
func TestProxy(t *testing.T) {
	backend := strings.TrimPrefix(broker(t), "mqtt://")
	_, port, _ := net.SplitHostPort(backend)
	at := socks(t, backend)
	l := listen(t, "tcp", "127.0.0.1:0")
	nobody := l.Addr().String()
	l.Close()
	for _, tt := range []struct{ proxy, address, want string }{
		{"socks5h://me:secret@" + at, "mqtt://broker.test:" + port, ""},
		{"socks5://me:secret@" + at, "mqtt://broker.test:" + port, ""},
		{"socks5h://me:secret@" + at, "mqtt://elsewhere.test:" + port, "through the proxy " + at + ": socks connect "},
		{"socks5h://me:wrong@" + at, "mqtt://broker.test:" + port, "through the proxy " + at + ": socks connect "},
		{"socks5h://" + at, "mqtt://broker.test:" + port, "through the proxy " + at + ": socks connect "},
		{"socks5h://" + nobody, "mqtt://broker.test:" + port, "through the proxy " + nobody + ": connection refused: nothing listens there"},
		{"http://" + at, "mqtt://broker.test:" + port, "proxy: write socks5h://[user[:password]@]host[:port]"},
	} {
		c, err := Connect(soon(t), Options{Address: tt.address, Proxy: tt.proxy, CleanStart: true})
		if err == nil {
			if _, err := c.Publish(soon(t), Message{Topic: "t", QoS: 1}); err != nil {
				t.Errorf("%s: %v", tt.proxy, err)
			}
			c.Disconnect(Disconnection{})
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s to %s: %v\nwant %s", tt.proxy, tt.address, err, tt.want)
		}
	}
}

// TestCheck proves what is known to be wrong before anything is dialled.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Address: "wss://a:1/x", LocalAddress: "::1", Proxy: "socks5h://b"}, ""},
		{Options{Address: "foo://a"}, "address foo://a: the scheme is none of mqtt, mqtts, ws, wss, unix"},
		{Options{Address: "mqtt://a", LocalAddress: "lo"}, "local address lo: not an IP address"},
		{Options{Address: "mqtt://a", Proxy: "b:1080"}, "proxy: write socks5h://[user[:password]@]host[:port]"},
		{Options{Address: "unix:///s", Proxy: "socks5h://b"}, "address unix:///s: a socket of this machine is not reached through a proxy"},
	} {
		if err := tt.o.Check(); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: %v\nwant %s", tt.o, err, tt.want)
		}
	}
}
