package loop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"midge/internal/websocket"
	"midge/test/certificate"
)

// limit bounds each test; none comes near it.
const limit = 20 * time.Second

// recorder is a handler that keeps what it hears.
type recorder struct {
	loop   Loop
	opened int
	in     map[*Conn][]byte
	closed map[*Conn]error
	take   func(c *Conn, b []byte) int // nil takes all
}

func newRecorder() *recorder { return &recorder{in: map[*Conn][]byte{}, closed: map[*Conn]error{}} }

func (r *recorder) Opened(*Conn) { r.opened++ }

func (r *recorder) Data(c *Conn, b []byte) int {
	n := len(b)
	if r.take != nil {
		n = r.take(c, b)
	}
	r.in[c] = append(r.in[c], b[:n]...)
	return n
}

func (r *recorder) Closed(c *Conn, err error) { r.closed[c] = err }

// until turns until done says so.
func (r *recorder) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", limit, what)
		}
		if err := r.loop.Turn(10 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// network is a server to test against, and how to reach it.
type network struct {
	name   string
	config Config
}

// networks are all ways to reach a server that serves each connection with
// serve.
func networks(t *testing.T, serve func(net.Conn)) []network {
	t.Helper()
	pair := certificate.New(t, "broker.test")
	server := &tls.Config{Certificates: []tls.Certificate{pair.TLS}}
	client := &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test"}
	listen := func(l net.Listener, err error) netip.AddrPort {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
		return netip.MustParseAddrPort(l.Addr().String())
	}
	tcp := listen(net.Listen("tcp", "127.0.0.1:0"))
	secure := listen(tls.Listen("tcp", "127.0.0.1:0", server))
	upgrade := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := gorilla.Upgrader{Subprotocols: []string{"mqtt"}}
		if ws, err := u.Upgrade(w, r, nil); err == nil && ws.Subprotocol() == "mqtt" {
			serve(websocket.New(ws))
		}
	})
	web := httptest.NewServer(upgrade)
	t.Cleanup(web.Close)
	secureWeb := httptest.NewUnstartedServer(upgrade)
	secureWeb.TLS = server
	secureWeb.StartTLS()
	t.Cleanup(secureWeb.Close)
	at := func(s *httptest.Server) netip.AddrPort { return netip.MustParseAddrPort(s.Listener.Addr().String()) }
	return []network{
		{"default", Config{Address: tcp}},
		{"goroutines", Config{Address: tcp, Goroutines: true}},
		{"tls", Config{Address: secure, TLS: client}},
		{"ws", Config{Address: at(web), WebSocket: "ws://" + at(web).String() + "/mqtt"}},
		{"wss", Config{Address: at(secureWeb), TLS: client, WebSocket: "wss://" + at(secureWeb).String() + "/mqtt"}},
	}
}

func echo(c net.Conn) {
	defer func() { _ = c.Close() }()
	_, _ = io.Copy(c, c)
}

func start(t *testing.T, cfg Config) *recorder {
	t.Helper()
	r := newRecorder()
	var err error
	if r.loop, err = New(cfg, r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.loop.Shut(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestEcho sends a megabyte over each of several connections, and takes it
// back in pieces that the loop has to keep.
func TestEcho(t *testing.T) {
	for _, n := range networks(t, echo) {
		t.Run(n.name, func(t *testing.T) {
			r := start(t, n.config)
			const piece = 1000
			r.take = func(c *Conn, b []byte) int { return len(b) / piece * piece }
			conns := make([]Conn, 5)
			for i := range conns {
				r.loop.Dial(&conns[i])
			}
			r.until(t, "connections", func() bool { return r.opened == len(conns) })
			want := make([]byte, 1000*piece)
			_, _ = rand.Read(want)
			for i := range conns {
				conns[i].Out = append(conns[i].Out, want...)
				r.loop.Touch(&conns[i])
			}
			r.until(t, "echoes", func() bool {
				for i := range conns {
					if len(r.in[&conns[i]]) < len(want) {
						return false
					}
				}
				return true
			})
			for i := range conns {
				if !bytes.Equal(r.in[&conns[i]], want) {
					t.Errorf("connection %d got something else than it sent", i)
				}
				r.loop.Close(&conns[i])
				if conns[i].Open() {
					t.Errorf("connection %d is open after Close", i)
				}
			}
			if len(r.closed) > 0 {
				t.Errorf("connections ended: %v", r.closed)
			}
		})
	}
}

// TestPacketLargerThanBuffers proves that the loop keeps what the handler
// can't use yet, however much that is.
func TestPacketLargerThanBuffers(t *testing.T) {
	for _, n := range networks(t, echo) {
		t.Run(n.name, func(t *testing.T) {
			r := start(t, n.config)
			const size = 3 << 20
			r.take = func(_ *Conn, b []byte) int {
				if len(b) < size {
					return 0
				}
				return size
			}
			var c Conn
			r.loop.Dial(&c)
			r.until(t, "the connection", func() bool { return r.opened == 1 })
			c.Out = append(c.Out, bytes.Repeat([]byte("midge"), size/5+1)[:size]...)
			r.loop.Touch(&c)
			r.until(t, "the packet", func() bool { return len(r.in[&c]) == size })
		})
	}
}

// TestEndings proves that the handler hears why a connection ended, that what
// came before is there, and that the connection can be dialed again.
func TestEndings(t *testing.T) {
	for _, n := range networks(t, func(c net.Conn) {
		_, _ = c.Write([]byte("good-bye"))
		_ = c.Close()
	}) {
		t.Run(n.name, func(t *testing.T) {
			r := start(t, n.config)
			var c Conn
			for range 3 {
				clear(r.closed)
				clear(r.in)
				r.loop.Dial(&c)
				r.until(t, "the end", func() bool { return r.closed[&c] != nil })
				if err := r.closed[&c]; !errors.Is(err, io.EOF) || string(r.in[&c]) != "good-bye" || c.Open() {
					t.Errorf("got %q and then %v, want EOF after good-bye", r.in[&c], err)
				}
			}
		})
	}
}

// TestRefused proves that a wrong target is named in a clear error.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{
		{Address: address},
		{Address: address, Goroutines: true},
		{Address: address, TLS: &tls.Config{ServerName: "x"}},
		{Address: address, WebSocket: "ws://" + address.String()},
	} {
		r := start(t, cfg)
		var c Conn
		r.loop.Dial(&c)
		r.until(t, "the refusal", func() bool { return r.closed[&c] != nil })
		if err := r.closed[&c]; !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasPrefix(err.Error(), fmt.Sprintf("connect to %v: ", address)) {
			t.Errorf("%+v: %v, want a refusal that names the address", cfg, err)
		}
	}
}

// TestWrongProtocol proves that a server which doesn't speak TLS or WebSocket
// is told as one.
func TestWrongProtocol(t *testing.T) {
	plain := networks(t, echo)[0].config.Address
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	at := netip.MustParseAddrPort(web.Listener.Addr().String())
	for want, cfg := range map[string]Config{
		"TLS":           {Address: plain, TLS: &tls.Config{ServerName: "x"}},
		"404 Not Found": {Address: at, WebSocket: "ws://" + at.String() + "/mqtt"},
	} {
		r := start(t, cfg)
		var c Conn
		r.loop.Dial(&c)
		r.until(t, "the end", func() bool { return r.closed[&c] != nil })
		if err := r.closed[&c]; !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestThrottle proves that a throttled connection reads no more than its
// share at a time, and everything once it is let loose.
func TestThrottle(t *testing.T) {
	const total = 200_000
	for _, n := range networks(t, func(c net.Conn) {
		_, _ = c.Write(make([]byte, total))
		echo(c)
	}) {
		t.Run(n.name, func(t *testing.T) {
			r := start(t, n.config)
			largest := 0
			r.take = func(_ *Conn, b []byte) int {
				largest = max(largest, len(b))
				return len(b)
			}
			c := Conn{ReadRate: 1000}
			r.loop.Dial(&c)
			r.until(t, "some bytes", func() bool { return len(r.in[&c]) >= 200 })
			if share := slowShare(1000); largest > share {
				t.Errorf("read %d bytes at a time, want at most %d", largest, share)
			}
			r.loop.Throttle(&c, 0)
			r.until(t, "all bytes", func() bool { return len(r.in[&c]) == total })
		})
	}
}

// TestSources proves that connections come from the addresses that they are
// to come from.
func TestSources(t *testing.T) {
	from := make(chan string, 10)
	for _, n := range networks(t, func(c net.Conn) {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		from <- host
		echo(c)
	})[:2] {
		cfg := n.config
		cfg.Sources, cfg.PortsPerSource = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}, 2
		r := start(t, cfg)
		conns := make([]Conn, 4)
		for i := range conns {
			r.loop.Dial(&conns[i])
		}
		r.until(t, "connections", func() bool { return r.opened == len(conns) })
		count := map[string]int{}
		for range conns {
			count[<-from]++
		}
		if count["127.0.0.2"] != 2 || count["127.0.0.3"] != 2 {
			t.Errorf("%s: connections come from %v", n.name, count)
		}
	}
}

// TestShutWhileDialing proves that Shut returns although a dial hangs.
func TestShutWhileDialing(t *testing.T) {
	hang := func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := newRecorder()
	var err error
	if r.loop, err = New(Config{Dial: hang}, r); err != nil {
		t.Fatal(err)
	}
	var c Conn
	r.loop.Dial(&c)
	if err := r.loop.Shut(); err != nil || len(r.closed) > 0 {
		t.Errorf("Shut: %v; heard %v", err, r.closed)
	}
}
