package wslayer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/wslayer"
	"midge/test/engines"
)

// patience bounds every wait for something that should happen.
const patience = time.Minute

// echo is an engine.Shard that sends back what it gets.
type echo struct {
	engines.Shard
	peers  chan engine.Peer
	opened chan netip.AddrPort
}

func (s *echo) Open(c engine.Conn) {
	if s.opened != nil {
		s.opened <- c.Remote()
	}
	s.Shard.Open(c)
}

func (s *echo) Data(c engine.Conn, b []byte) int {
	if s.peers != nil {
		s.peers <- c.Peer()
	}
	for i := range b { // in pieces: what a turn sends is one frame
		c.Send(b[i:i+1], nil)
	}
	return len(b)
}

func serve(t *testing.T, kind string, shard engine.Shard, l wslayer.Listener) (addr string, layer *wslayer.Layer) {
	t.Helper()
	web := wslayer.New([]engine.Shard{shard}, bufpool.New(bufpool.MaxIdle), wslayer.Config{
		Log: slog.New(slog.DiscardHandler), Listener: func(int) *wslayer.Listener { return &l },
	})
	e := engines.New(t, kind, engine.Listener{Name: "web"}, web.Shards())
	web.Start(e.Runner)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return e.Addr, web
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// open returns a connection that has become a WebSocket.
func open(t *testing.T, addr string, lines ...string) net.Conn {
	t.Helper()
	c := dial(t, addr)
	io.WriteString(c, request("/mqtt", lines...))
	answer := make([]byte, 0, 1000)
	for !bytes.HasSuffix(answer, []byte("\r\n\r\n")) {
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil {
			t.Fatalf("%v after %q", err, answer)
		}
		answer = append(answer, b...)
	}
	for _, want := range []string{"HTTP/1.1 101 ", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: mqtt\r\n"} {
		if !strings.Contains(string(answer), want) {
			t.Fatalf("the answer has no %q: %q", want, answer)
		}
	}
	return c
}

// request is one that is answered with a WebSocket; lines are added to its header.
func request(path string, lines ...string) string {
	all := append([]string{
		"GET " + path + " HTTP/1.1", "Host: broker.test", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: other, mqtt",
	}, lines...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

// frame is a frame of a client.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i, x := range payload {
		b = append(b, x^mask[i%4])
	}
	return b
}

// readFrame reads a frame of the server.
func readFrame(t *testing.T, r io.Reader) (first byte, payload []byte) {
	t.Helper()
	read := func(n uint64) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	head := read(2)
	n := uint64(head[1])
	switch n {
	case 126:
		n = uint64(binary.BigEndian.Uint16(read(2)))
	case 127:
		n = binary.BigEndian.Uint64(read(8))
	}
	return head[0], read(n)
}

// TestRequests sends requests that are answered without a WebSocket.
func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name, request, answer string
		reason                wslayer.Reason
	}{
		{"no upgrade", "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", wslayer.BadRequest},
		{"no host", "GET /mqtt HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", wslayer.BadRequest},
		{"HTTP/1.0", "GET /mqtt HTTP/1.0\r\n\r\n", "HTTP/1.1 505 ", wslayer.BadRequest},
		{"POST", "POST /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", wslayer.BadRequest},
		{"no line of HTTP", "HELO\r\n\r\n", "HTTP/1.1 400 ", wslayer.BadRequest},
		{"version 8", strings.Replace(request("/mqtt"), "Version: 13", "Version: 8", 1), "HTTP/1.1 426 ", wslayer.BadRequest},
		{"another path", request("/other"), "HTTP/1.1 404 ", wslayer.Path},
		{"another origin", request("/mqtt", "Origin: https://other.test"), "HTTP/1.1 403 ", wslayer.Origin},
		{"another subprotocol", strings.Replace(request("/mqtt"), "other, mqtt", "other", 1), "HTTP/1.1 400 ", wslayer.Protocol},
		{"no subprotocol", strings.Replace(request("/mqtt"), "Sec-WebSocket-Protocol: other, mqtt\r\n", "", 1), "HTTP/1.1 400 ", wslayer.Protocol},
		{"without end", "GET /" + strings.Repeat("x", 20<<10), "HTTP/1.1 431 ", wslayer.TooLong},
		{"MQTT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", "", wslayer.PlainMQTT},
		{"TLS", "\x16\x03\x01\x00\x05hello", "", wslayer.TLS},
		{"garbage", "\x00\x01", "", wslayer.NotHTTP},
	} {
		for _, kind := range engines.Kinds {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				closed := make(chan error, 1)
				addr, layer := serve(t, kind, &echo{Shard: engines.Shard{Ended: closed}}, wslayer.Listener{Path: "/mqtt", Origins: []string{"https://example.org"}})
				c := dial(t, addr)
				io.WriteString(c, tt.request)
				answer, err := io.ReadAll(c)
				if !strings.HasPrefix(string(answer), tt.answer) || tt.answer == "" && len(answer) > 0 {
					t.Errorf("the answer is %q, %v; want %q", answer, err, tt.answer)
				}
				if len(answer) > 300 {
					t.Errorf("the answer has %d bytes", len(answer))
				}
				if err := <-closed; err == nil {
					t.Error("Closed with nil")
				}
				if layer.Counters().Failed[tt.reason].Load() != 1 {
					t.Errorf("%q was not counted", tt.reason)
				}
			})
		}
	}
}

// TestFrames cuts a stream into frames, and frames into pieces, at places that
// have nothing to do with each other.
func TestFrames(t *testing.T) {
	for _, kind := range engines.Kinds {
		t.Run(kind, func(t *testing.T) {
			addr, _ := serve(t, kind, &echo{}, wslayer.Listener{})
			seed := rand.Uint64()
			t.Log("seed", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			for range 20 {
				c := open(t, addr, "Origin: https://anybody.test")
				want := make([]byte, rnd.IntN(1<<uint(rnd.IntN(19)))+1)
				for i := range want {
					want[i] = byte(rnd.Uint32())
				}
				var stream []byte
				fragmented := false
				for rest := want; len(rest) > 0; {
					n := min(rnd.IntN(1<<uint(rnd.IntN(17))), len(rest))
					op, fin := byte(2), byte(rnd.IntN(2))<<7
					if n == len(rest) {
						fin = 0x80
					}
					if fragmented {
						op = 0
					}
					stream = append(stream, frame(fin|op, rest[:n])...)
					fragmented = fin == 0
					rest = rest[n:]
					if rnd.IntN(5) == 0 {
						stream = append(stream, frame(0x8a, []byte("an answer that nobody asked for"))...)
					}
				}
				go func() {
					piece := rnd.IntN(3000) + 1
					for len(stream) > 0 {
						n := min(piece, len(stream))
						if _, err := c.Write(stream[:n]); err != nil {
							return
						}
						stream = stream[n:]
					}
				}()
				var got []byte
				for len(got) < len(want) {
					first, payload := readFrame(t, c)
					if first != 0x82 {
						t.Fatalf("a frame that begins with %#x", first)
					}
					got = append(got, payload...)
				}
				if !bytes.Equal(got, want) {
					t.Fatal("what came back is not what was sent")
				}
				c.Close()
			}
		})
	}
}

// TestOneFrame sends much in one turn.
func TestOneFrame(t *testing.T) {
	for _, kind := range engines.Kinds {
		addr, _ := serve(t, kind, &echo{}, wslayer.Listener{})
		c := open(t, addr)
		for _, n := range []int{1, 125, 126, 1000} {
			want := bytes.Repeat([]byte("x"), n)
			c.Write(frame(0x82, want))
			if first, payload := readFrame(t, c); first != 0x82 || !bytes.Equal(payload, want) {
				t.Errorf("%s: a frame of %d bytes for what was sent in one turn, want %d", kind, len(payload), n)
			}
		}
	}
}

// TestControl sends control frames between the parts of a message.
func TestControl(t *testing.T) {
	for _, kind := range engines.Kinds {
		t.Run(kind, func(t *testing.T) {
			closed := make(chan error, 1)
			addr, _ := serve(t, kind, &echo{Shard: engines.Shard{Ended: closed}}, wslayer.Listener{})
			c := open(t, addr)
			c.Write(frame(0x02, []byte("ab"))[:7]) // not all of it
			c.Write(frame(0x02, []byte("ab"))[7:])
			c.Write(frame(0x89, []byte("ping")))
			c.Write(frame(0x80, []byte("cd")))
			data, pong := []byte{}, false
			for len(data) < 4 || !pong {
				first, payload := readFrame(t, c)
				switch first {
				case 0x82:
					data = append(data, payload...)
				case 0x8a:
					pong = string(payload) == "ping"
				}
			}
			c.Write(append(frame(0x82, []byte("last")), frame(0x88, []byte{3, 232, 'b', 'y', 'e'})...))
			if _, payload := readFrame(t, c); string(payload) != "last" {
				t.Errorf("%q came back", payload)
			}
			if first, payload := readFrame(t, c); first != 0x88 || !bytes.Equal(payload, []byte{3, 232}) {
				t.Errorf("the answer to a close frame is %#x % x", first, payload)
			}
			if n, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after the end: %d, %v", n, err)
			}
			if err := <-closed; err != io.EOF {
				t.Errorf("Closed with %v", err)
			}
		})
	}
}

// TestPings lets a peer that does not read ping on and on: its answers don't pile up.
func TestPings(t *testing.T) {
	addr, _ := serve(t, "epoll", &echo{}, wslayer.Listener{})
	c := open(t, addr)
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	ping := bytes.Repeat(frame(0x89, make([]byte, 125)), 500)
	for range 200 { // 13 MB, which all are read
		if _, err := c.Write(ping); err != nil {
			t.Fatal("the server has stopped to read")
		}
	}
}

// TestViolations sends what a client may not.
func TestViolations(t *testing.T) {
	unmasked := []byte{0x82, 1, 'x'}
	for _, tt := range []struct {
		name   string
		frames []byte
		code   uint16
	}{
		{"text", frame(0x81, []byte("x")), 1003},
		{"no mask", unmasked, 1002},
		{"bits of an extension", frame(0xc2, []byte("x")), 1002},
		{"an unknown code", frame(0x83, []byte("x")), 1002},
		{"a continuation of nothing", frame(0x80, []byte("x")), 1002},
		{"a message in another", append(frame(0x02, []byte("x")), frame(0x82, []byte("y"))...), 1002},
		{"a ping in parts", frame(0x09, []byte("x")), 1002},
		{"a long ping", frame(0x89, make([]byte, 126)), 1002},
		{"a frame without end", []byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1002},
	} {
		for _, kind := range engines.Kinds {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				closed := make(chan error, 1)
				addr, _ := serve(t, kind, &echo{Shard: engines.Shard{Ended: closed}}, wslayer.Listener{})
				c := open(t, addr)
				c.Write(tt.frames)
				for {
					first, payload := readFrame(t, c)
					if first != 0x88 {
						continue
					}
					if code := binary.BigEndian.Uint16(payload); code != tt.code {
						t.Errorf("closed with %d, want %d", code, tt.code)
					}
					break
				}
				if err := <-closed; err == nil || err == io.EOF {
					t.Errorf("Closed with %v", err)
				}
			})
		}
	}
}

// TestForwarded asks for the address of clients behind proxies.
func TestForwarded(t *testing.T) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for _, tt := range []struct {
		name    string
		proxies []netip.Prefix
		header  []string
		want    string // "": the peer's own
	}{
		{"trusted", []netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1"}, "192.0.2.1"},
		{"not trusted", nil, []string{"X-Forwarded-For: 192.0.2.1"}, ""},
		{"invented by the client", []netip.Prefix{loopback}, []string{"x-forwarded-for: 198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", []netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 127.0.0.9"}, "192.0.2.1"},
		{"IPv6", []netip.Prefix{loopback}, []string{"X-Forwarded-For: 2001:db8::1"}, "2001:db8::1"},
		{"nonsense", []netip.Prefix{loopback}, []string{"X-Forwarded-For: unknown"}, ""},
		{"none", []netip.Prefix{loopback}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peers := make(chan engine.Peer, 1)
			opened := make(chan netip.AddrPort, 1)
			addr, _ := serve(t, "epoll", &echo{peers: peers, opened: opened}, wslayer.Listener{Proxies: tt.proxies})
			c := open(t, addr, tt.header...)
			if at := <-opened; at.IsValid() != (tt.proxies == nil) {
				t.Errorf("before the request, the client is at %v", at)
			}
			c.Write(frame(0x82, []byte("x")))
			want := c.LocalAddr().(*net.TCPAddr).AddrPort()
			if tt.want != "" {
				want = netip.AddrPortFrom(netip.MustParseAddr(tt.want), 0)
			}
			if p := <-peers; p.Remote != want {
				t.Errorf("the client is at %v, want %v", p.Remote, want)
			}
		})
	}
}
