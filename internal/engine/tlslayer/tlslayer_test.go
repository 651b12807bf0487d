package tlslayer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/tlslayer"
	"midge/internal/tlsrecord"
	"midge/test/certificate"
	"midge/test/engines"
)

// patience bounds every wait for something that should happen.
const patience = time.Minute

// echo is an engine.Shard that sends back what it gets.
type echo struct {
	engines.Shard
	index  int
	open   func(s *echo, c engine.Conn) // nil: nothing
	data   func(c engine.Conn, b []byte)
	runner engine.Runner
}

func (s *echo) Open(c engine.Conn) {
	if s.open != nil {
		s.open(s, c)
	}
}

func (s *echo) Data(c engine.Conn, b []byte) int {
	if s.data != nil {
		s.data(c, b)
	}
	c.Send(b, nil)
	return len(b)
}

// server is a running engine with TLS.
type server struct {
	addr   string
	layer  *tlslayer.Layer
	runner engine.Runner
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t *testing.T, kind string, shards []*echo, cfg tlslayer.Config) *server {
	t.Helper()
	s := &server{log: &lockedBuffer{}}
	cfg.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var all []engine.Shard
	for i, x := range shards {
		x.index = i
		all = append(all, x)
	}
	s.layer = tlslayer.New(all, bufpool.New(bufpool.MaxIdle), cfg)
	e := engines.New(t, kind, engine.Listener{Name: "secure"}, s.layer.Shards())
	s.runner, s.addr = e.Runner, e.Addr
	s.layer.Start(s.runner)
	for _, x := range shards {
		x.runner = s.runner
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := s.layer.Counters().Waiting.Load(); n != 0 {
			t.Errorf("%d handshakes are under way after the end", n)
		}
	})
	return s
}

// fixed is a configuration that has TLS on all listeners.
func fixed(cfg *tls.Config) tlslayer.Config {
	cfg.DynamicRecordSizingDisabled = true
	return tlslayer.Config{TLS: func(int) *tls.Config { return cfg }}
}

// way is a version of TLS, and who goes on after the handshake.
type way struct {
	name    string
	version uint16
	compact bool
}

var ways = []way{
	{"TLS 1.2", tls.VersionTLS12, false},
	{"TLS 1.3", tls.VersionTLS13, false},
	{"TLS 1.3, compact", tls.VersionTLS13, true},
}

// config is a configuration that has TLS on all listeners.
func (w way) config(cfg *tls.Config) tlslayer.Config {
	all := fixed(cfg)
	if w.compact {
		outer := cfg.Clone()
		outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return tlsrecord.Config(hello.Conn, cfg), nil }
		all.TLS = func(int) *tls.Config { return outer }
		all.Compact = func(int) bool { return true }
	}
	return all
}

func dialTCP(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// exchange sends b and expects it back.
func exchange(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	go c.Write(b)
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Fatalf("%d bytes came back changed", len(b))
	}
}

// failed waits until a handshake has failed for the reason.
func (s *server) failed(t *testing.T, r tlslayer.Reason) {
	t.Helper()
	for end := time.Now().Add(patience); s.layer.Counters().Failed[r].Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			var all []uint64
			for i := range s.layer.Counters().Failed {
				all = append(all, s.layer.Counters().Failed[i].Load())
			}
			t.Fatalf("no handshake failed because of %q; counted: %v\n%s", r, all, s.log)
		}
	}
}

// begun is the number of handshakes that have begun.
func (s *server) begun() int {
	c := s.layer.Counters()
	n := int(c.Done.Load()) + int(c.Waiting.Load())
	for i := range c.Failed {
		n += int(c.Failed[i].Load())
	}
	return n
}

// drip writes one byte at a time.
type drip struct{ net.Conn }

func (d drip) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// hoard keeps what is written behind the first flight until the handshake is over and more is written.
type hoard struct {
	net.Conn
	writes int
	kept   []byte
	open   bool
}

func (h *hoard) Write(b []byte) (int, error) {
	if h.writes++; h.writes == 1 || h.open {
		if _, err := h.Conn.Write(append(h.kept, b...)); err != nil {
			return 0, err
		}
		h.kept = nil
		return len(b), nil
	}
	h.kept = append(h.kept, b...)
	return len(b), nil
}

// TestHandshakes shakes hands in all ways in which bytes can arrive.
func TestHandshakes(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range engines.Kinds {
		for _, w := range ways {
			ours := &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test", MaxVersion: w.version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				s := serve(t, kind, []*echo{{}, {}}, w.config(&tls.Config{Certificates: []tls.Certificate{pair.TLS}}))
				t.Run("one byte at a time", func(t *testing.T) {
					c := tls.Client(drip{dialTCP(t, s.addr)}, ours)
					exchange(t, c, []byte("slowly"))
				})
				t.Run("data with Finished", func(t *testing.T) {
					h := &hoard{Conn: dialTCP(t, s.addr)}
					c := tls.Client(h, ours)
					h.open = w.version == tls.VersionTLS12 // its client waits for the server's Finished
					if err := c.Handshake(); err != nil {
						t.Fatal(err)
					}
					h.open = true
					exchange(t, c, bytes.Repeat([]byte("early"), 30_000))
				})
				t.Run("resumed", func(t *testing.T) {
					before := s.layer.Counters().Resumed.Load()
					for range 2 {
						c := tls.Client(dialTCP(t, s.addr), ours)
						exchange(t, c, []byte("x"))
						c.Close()
					}
					c := s.layer.Counters()
					if c.Resumed.Load() == before {
						t.Error("no handshake was resumed")
					}
					if n := c.Compact.Load(); (n == c.Done.Load()) != w.compact {
						t.Errorf("after %d of %d handshakes the connection was compact", n, c.Done.Load())
					}
				})
			})
		}
	}
}

// TestMoveInHandshake moves connections before they have shaken hands, in it, and
// after.
func TestMoveInHandshake(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	ours := &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test"}
	for _, kind := range engines.Kinds {
		for _, w := range ways[1:] {
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				const shards, hops = 3, 40
				var all []*echo
				for range shards {
					all = append(all, &echo{open: func(s *echo, c engine.Conn) {
						n, _ := c.Attached().(int)
						if n == hops {
							return
						}
						c.Attach(n + 1)
						go s.runner.Post(s.index, func() { c.Move((s.index + 1) % shards) })
					}})
				}
				s := serve(t, kind, all, w.config(&tls.Config{Certificates: []tls.Certificate{pair.TLS}}))
				for range 5 {
					c := tls.Client(drip{dialTCP(t, s.addr)}, ours)
					exchange(t, c, bytes.Repeat([]byte("moved"), 100))
				}
			})
		}
	}
}

// TestFailedHandshakes lets handshakes fail for all reasons that there are.
func TestFailedHandshakes(t *testing.T) {
	pair, other := certificate.New(t, "broker.test"), certificate.New(t, "other.test")
	plain := func(text string) func(*testing.T, string) {
		return func(t *testing.T, addr string) {
			c := dialTCP(t, addr)
			c.Write([]byte(text))
			if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
		}
	}
	with := func(cfg *tls.Config) func(*testing.T, string) {
		cfg.RootCAs, cfg.ServerName = pair.Pool(), "broker.test"
		return func(t *testing.T, addr string) {
			c := tls.Client(dialTCP(t, addr), cfg)
			if err := c.Handshake(); err == nil { // TLS 1.3 tells the client with the first read
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("the client was let in")
				}
			}
		}
	}
	for _, tt := range []struct {
		name   string
		reason tlslayer.Reason
		log    string
		client func(*testing.T, string)
	}{
		{"MQTT", tlslayer.PlainMQTT, "without TLS", plain("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")},
		{"HTTP", tlslayer.PlainHTTP, "HTTP without TLS", plain("GET / HTTP/1.1\r\n\r\n")},
		{"garbage", tlslayer.NotTLS, "", plain("\x00\x01\x02\x03")},
		{"a record of garbage", tlslayer.Other, "", plain("\x16\x03\x01\x00\x05hello")},
		{"a record that is too long", tlslayer.NotTLS, "", plain("\x16\x03\x01\xff\xffhello")},
		{"another record", tlslayer.NotTLS, "", plain("\x17\x03\x03\x00\x02xx")},
		{"TLS 1.1", tlslayer.Version, "", with(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})},
		{"no cipher in common", tlslayer.Parameters, "", with(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}})},
		{"no protocol in common", tlslayer.Parameters, "", with(&tls.Config{NextProtos: []string{"spdy"}})},
		{"no certificate", tlslayer.NoCertify, "", with(&tls.Config{})},
		{"another's certificate", tlslayer.Certificate, "", with(&tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &other.TLS, nil }})},
		{"the client refuses", tlslayer.RefusedByPeer, "doesn't trust", func(t *testing.T, addr string) {
			c := tls.Client(dialTCP(t, addr), &tls.Config{RootCAs: other.Pool(), ServerName: "broker.test"})
			if err := c.Handshake(); err == nil {
				t.Error("the client trusts a stranger")
			}
		}},
		{"gone after the first record", tlslayer.Gone, "", func(t *testing.T, addr string) { hello(t, addr).Close() }},
		{"half-closed after it", tlslayer.Gone, "", func(t *testing.T, addr string) { hello(t, addr).CloseWrite() }},
	} {
		for _, kind := range engines.Kinds {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				closed := make(chan error, 1)
				cfg := &tls.Config{
					Certificates: []tls.Certificate{pair.TLS}, NextProtos: []string{"mqtt"},
					ClientCAs: pair.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
				}
				s := serve(t, kind, []*echo{{Shard: engines.Shard{Ended: closed}}}, fixed(cfg))
				tt.client(t, s.addr)
				s.failed(t, tt.reason)
				if err := <-closed; err == nil {
					t.Error("Closed with nil")
				}
				if !strings.Contains(s.log.String(), tt.log) {
					t.Errorf("the log doesn't say %q: %s", tt.log, s.log)
				}
			})
		}
	}
}

// hello sends the first flight of a client, and reads nothing.
func hello(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c := dialTCP(t, addr)
	h := &hoard{Conn: c}
	first := make(chan struct{})
	go tls.Client(&firstOnly{h, first, sync.Once{}}, &tls.Config{InsecureSkipVerify: true}).Handshake()
	<-first
	return c
}

// firstOnly tells when the first write is done, and lets nothing be read.
type firstOnly struct {
	*hoard
	first chan struct{}
	once  sync.Once
}

func (f *firstOnly) Write(b []byte) (int, error) {
	n, err := f.hoard.Write(b)
	f.once.Do(func() { close(f.first) })
	return n, err
}
func (f *firstOnly) Read([]byte) (int, error) { return 0, io.EOF }

// TestLate closes connections that take too long, as the broker does, with nothing, a
// part of a record, and a record sent.
func TestLate(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range engines.Kinds {
		for name, begin := range map[string]func(t *testing.T, addr string) net.Conn{
			"nothing": func(t *testing.T, addr string) net.Conn { return dialTCP(t, addr) },
			"a part": func(t *testing.T, addr string) net.Conn {
				c := dialTCP(t, addr)
				c.Write([]byte("\x16\x03\x01\x02\x00"))
				return c
			},
			"a record": func(t *testing.T, addr string) net.Conn { return hello(t, addr) },
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				conns, closed := make(chan engine.Conn, 1), make(chan error, 1)
				shard := &echo{Shard: engines.Shard{Ended: closed}, open: func(_ *echo, c engine.Conn) { conns <- c }}
				s := serve(t, kind, []*echo{shard}, fixed(&tls.Config{Certificates: []tls.Certificate{pair.TLS}}))
				c := begin(t, s.addr)
				conn := <-conns
				if name == "a record" {
					for s.layer.Counters().Waiting.Load() == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				s.runner.Post(0, conn.Close)
				if err := <-closed; err != nil {
					t.Errorf("Closed with %v", err)
				}
				s.failed(t, tlslayer.Late)
				io.Copy(io.Discard, c)
			})
		}
	}
}

// TestDisplaced has more peers shake hands than may, none of which goes on. Who comes
// last gets in all the same.
func TestDisplaced(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range engines.Kinds {
		t.Run(kind, func(t *testing.T) {
			cfg := fixed(&tls.Config{Certificates: []tls.Certificate{pair.TLS}})
			cfg.Waiting, cfg.Running = 3, 1
			s := serve(t, kind, []*echo{{}, {}}, cfg)
			for i := range 20 {
				hello(t, s.addr)
				for s.begun() <= i+i/5 { // or it could come behind the next client, and displace it
					time.Sleep(time.Millisecond)
				}
				if i%5 == 4 {
					c := tls.Client(dialTCP(t, s.addr), &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test"})
					exchange(t, c, []byte("x"))
					c.Close()
				}
			}
			s.failed(t, tlslayer.Displaced)
		})
	}
}

// TestViolation sends a record that nobody has encrypted: the shard hears of it, and
// the client, after what was sent before.
func TestViolation(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range engines.Kinds {
		for _, w := range ways {
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				closed := make(chan error, 1)
				s := serve(t, kind, []*echo{{Shard: engines.Shard{Ended: closed}}}, w.config(&tls.Config{Certificates: []tls.Certificate{pair.TLS}}))
				raw := dialTCP(t, s.addr)
				c := tls.Client(raw, &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test", MaxVersion: w.version})
				exchange(t, c, []byte("x"))
				raw.Write([]byte("\x17\x03\x03\x00\x20--------------------------------"))
				if err := <-closed; err == nil || errors.Is(err, io.EOF) {
					t.Errorf("Closed with %v", err)
				}
				if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
					t.Errorf("the client is told %v", err)
				}
			})
		}
	}
}

// TestRecords counts the records of what a shard sends in one turn.
func TestRecords(t *testing.T) {
	pair := certificate.New(t, "broker.test")
	for _, kind := range engines.Kinds {
		for _, w := range ways[1:] {
			t.Run(kind+"/"+w.name, func(t *testing.T) {
				shard := &echo{data: func(c engine.Conn, _ []byte) {
					for range 99 {
						c.Send([]byte("0123456789"), nil)
					}
				}}
				s := serve(t, kind, []*echo{shard}, w.config(&tls.Config{Certificates: []tls.Certificate{pair.TLS}}))
				counted := &records{Conn: dialTCP(t, s.addr)}
				c := tls.Client(counted, &tls.Config{RootCAs: pair.Pool(), ServerName: "broker.test"})
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				before := len(counted.all)
				c.Write([]byte("go........"))
				if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				if n := bytes.Count(counted.all[before:], []byte{23, 3, 3}); n > 3 { // a ticket or two may be among them
					t.Errorf("%d records for the output of a turn", n)
				}
			})
		}
	}
}

// records keeps what was read.
type records struct {
	net.Conn
	all []byte
}

func (r *records) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.all = append(r.all, b[:n]...)
	return n, err
}
