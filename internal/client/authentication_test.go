package client

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"midge/internal/packet"
	"midge/internal/scram"
)

// TestFalseBroker proves that a client which uses SCRAM does not take a broker for right
// that does not know the password, and does not help it to guess.
func TestFalseBroker(t *testing.T) {
	of := func(data string) (p packet.Properties) {
		p.AuthMethod, p.AuthData = []byte(scram.Method), []byte(data)
		p.Set(packet.PropAuthMethod, packet.PropAuthData)
		return p
	}
	challenge := func(rest string) func(first string) []byte {
		return func(first string) []byte {
			_, nonce, _ := strings.Cut(first, ",r=")
			return (&packet.Auth{Code: packet.ContinueAuthentication, Properties: of("r=" + nonce + rest)}).Append(nil, packet.V5)
		}
	}
	for _, tt := range []struct {
		name  string
		ask   func(first string) []byte // nil: CONNACK at once
		final string
		want  string
	}{
		{"asks nothing", nil, "v=AAAA", "has asked for nothing"},
		{"few iterations", challenge("x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=1"), "", "outside 4096"},
		{"too many iterations", challenge("x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=2000000000"), "", "outside 4096"},
		{"another nonce", func(string) []byte {
			return (&packet.Auth{Code: packet.ContinueAuthentication, Properties: of("r=x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096")}).Append(nil, packet.V5)
		}, "", "nonce"},
		{"no data", func(string) []byte { return []byte{0xf0, 2, 0x18, 0} }, "", "ends before"},
		{"a wrong signature", challenge("x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096"), "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "does not know the password"},
		{"no signature", challenge("x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096"), "", "not of the form"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := make(chan string, 1)
			address := serve(t, listen(t, "tcp", "127.0.0.1:0"), func(c net.Conn) {
				r := bufio.NewReader(c)
				var p packet.Connect
				if err := p.Decode(readBody(t, r)); err != nil {
					t.Error(err)
				}
				if p.UserName != nil || p.Password != nil {
					t.Errorf("CONNECT has user name %q and password %q", p.UserName, p.Password)
				}
				sent <- string(p.Properties.AuthData)
				if tt.ask != nil {
					if _, err := c.Write(tt.ask(string(p.Properties.AuthData))); err != nil {
						return
					}
					if first, _ := readBody(t, r); first == 0 {
						return // the client has given up
					}
				}
				ack := packet.Connack{Properties: of(tt.final)}
				c.Write(ack.Append(nil, packet.V5))
				io.Copy(io.Discard, r)
			})
			c, err := Connect(t.Context(), Options{Address: "mqtt://" + address, Username: "alice", Password: []byte("wonderland"), AuthenticationMethod: scram.Method})
			if err == nil {
				c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if first := <-sent; !strings.HasPrefix(first, "n,,n=alice,r=") {
				t.Errorf("the first message is %q", first)
			}
		})
	}
}

// readBody reads a packet; its first byte is 0 when there is none.
func readBody(t *testing.T, r *bufio.Reader) (first byte, body []byte) {
	t.Helper()
	var b []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return 0, nil
		}
		b = append(b, c)
		first, body, size, err := packet.Split(b, packet.MaxSize)
		if err != nil {
			t.Error(err)
			return 0, nil
		}
		if size > 0 {
			return first, body
		}
	}
}
