package app

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestBehindProxy proves that the limit of an address counts the clients' addresses and not
// the proxy's, and that a connection without a header is refused and counted.
func TestBehindProxy(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			b, _ := started(t, "engine", engine, "listener.plain.address", "127.0.0.1:0", "listener.behind.address", "127.0.0.1:0",
				"listener.behind.proxy_protocol", "192.0.2.0/24,127.0.0.1", "listener.behind.allow_anonymous", "true", "limits.connections_per_ip", "1")
			plain, behind := b.listening[0].addr.String(), b.listening[1].addr.String()
			connect := func(address, header string) (answer []byte) {
				t.Helper()
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				c.SetDeadline(time.Now().Add(time.Minute))
				io.WriteString(c, header) // may meet a closed socket
				c.Write((&packet.Connect{Version: packet.V311, ClientID: fmt.Append(nil, header), CleanStart: true}).Append(nil))
				answer = make([]byte, 4)
				n, _ := io.ReadFull(c, answer)
				return answer[:n]
			}
			from := func(ip string) string { return "PROXY TCP4 " + ip + " 198.51.100.2 4711 1883\r\n" }
			for _, tt := range []struct {
				address, header, want string
			}{
				{behind, from("203.0.113.1"), "\x20\x02\x00\x00"},
				{behind, from("203.0.113.2"), "\x20\x02\x00\x00"},
				{behind, from("203.0.113.1"), "\x20\x02\x00\x03"},
				{plain, "", "\x20\x02\x00\x00"},
				{plain, "", "\x20\x02\x00\x03"},
				{behind, "", ""},
			} {
				if got := connect(tt.address, tt.header); string(got) != tt.want {
					t.Errorf("%q: answered with %x, want %x", tt.header, got, tt.want)
				}
			}
			if n := b.core.Counters().RefusedProxy; n != 1 {
				t.Errorf("%d refused for want of a header, want 1", n)
			}
		})
	}
}
