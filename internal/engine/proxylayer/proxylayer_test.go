package proxylayer

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/test/engines"
)

// newEngine is an engine of a kind with the protocol on its listener, 7.
func newEngine(t *testing.T, kind string, shards []engine.Shard, cfg Listener) (enginetest.Engine, *Layer) {
	l := New(shards, Config{Log: slog.New(slog.DiscardHandler), Listener: func(n int) *Listener {
		if n == 7 {
			return &cfg
		}
		return nil
	}})
	e := engines.New(t, kind, engine.Listener{Number: 7, Name: "behind"}, l.Shards())
	l.Start(e.Runner)
	return e, l
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestEngine runs the suite of engines behind a proxy.
func TestEngine(t *testing.T) {
	for _, kind := range engines.Kinds {
		t.Run(kind, func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
				e, _ := newEngine(t, kind, shards, Listener{Proxies: loopback, Timeout: time.Hour})
				e.Dial = func(addr string) (enginetest.Client, error) {
					c, err := net.Dial("tcp", addr)
					if err != nil {
						return nil, err
					}
					from, to := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
					_, err = c.Write([]byte(binaryFrom(from, to, "")))
					return c.(*net.TCPConn), err
				}
				return e
			})
		})
	}
}

// curious is an engine.Shard that tells who its peers are, and what they say.
type curious struct {
	opened chan netip.AddrPort
	peers  chan engine.Peer
	closed chan error
}

func (s curious) Open(c engine.Conn) {
	c.Attach("mine")
	s.opened <- c.Remote()
}

func (s curious) Data(c engine.Conn, b []byte) int {
	if c.Attached() == "mine" {
		s.peers <- c.Peer()
		c.Send(b, nil)
	}
	return len(b)
}
func (s curious) Drained(engine.Conn)              {}
func (s curious) Closed(_ engine.Conn, err error)  { s.closed <- err }
func (s curious) Turn(time.Duration) time.Duration { return engine.Never }

// runCurious runs a curious shard until the test ends.
func runCurious(t *testing.T, kind string, cfg Listener) (e enginetest.Engine, l *Layer, s curious) {
	s = curious{make(chan netip.AddrPort, 8), make(chan engine.Peer, 64), make(chan error, 8)}
	e, l = newEngine(t, kind, []engine.Shard{s}, cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return e, l, s
}

func dial(t *testing.T, e enginetest.Engine) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", e.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	return c
}

// TestHeader proves whose connection the inner shard sees, however the header comes.
func TestHeader(t *testing.T) {
	client, to := netip.MustParseAddrPort("203.0.113.9:4711"), netip.MustParseAddrPort("198.51.100.2:1883")
	for _, kind := range engines.Kinds {
		e, l, s := runCurious(t, kind, Listener{Proxies: loopback, Timeout: time.Hour})
		for name, tt := range map[string]struct {
			header string
			own    bool // the connection counts for itself
		}{
			"v1":    {"PROXY TCP4 203.0.113.9 198.51.100.2 4711 1883\r\n", false},
			"v2":    {binaryFrom(client, to, "\x04\x00\x01x"), false},
			"LOCAL": {binaryHeader(0, 0, ""), true},
		} {
			for _, step := range []int{1, 7, len(tt.header), len(tt.header) + 3} {
				t.Run(kind+"/"+name, func(t *testing.T) {
					c := dial(t, e)
					sent := tt.header + "hello"
					for b := sent; b != ""; {
						n := min(step, len(b))
						if _, err := io.WriteString(c, b[:n]); err != nil {
							t.Fatal(err)
						}
						b = b[n:]
					}
					got := make([]byte, 5)
					if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
						t.Fatalf("got %q, %v", got, err)
					}
					want, local := client, to
					if tt.own {
						want, local = c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
					}
					if at := <-s.opened; at != want {
						t.Errorf("opened by %v, want %v", at, want)
					}
					if p := <-s.peers; p.Remote != want || p.Local != local || p.Listener != "behind" {
						t.Errorf("the peer is %+v, want %v at %v", p, want, local)
					}
					c.Close()
					<-s.closed
					for len(s.peers) > 0 {
						<-s.peers
					}
				})
			}
		}
		if n := l.Counters(); n.Untrusted.Load()+n.Invalid.Load()+n.Late.Load() != 0 {
			t.Errorf("refused %d, %d, %d", n.Untrusted.Load(), n.Invalid.Load(), n.Late.Load())
		}
	}
}

// TestRefused proves that the inner shard never hears of who is no proxy, or sends no
// proper header, and that it is counted why.
func TestRefused(t *testing.T) {
	for _, kind := range engines.Kinds {
		for name, tt := range map[string]struct {
			cfg  Listener
			send string
			want [3]uint64 // untrusted, invalid, late
		}{
			"from elsewhere": {Listener{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Timeout: time.Hour}, "PROXY UNKNOWN\r\n", [3]uint64{1, 0, 0}},
			"no header":      {Listener{Proxies: loopback, Timeout: time.Hour}, "\x10\x0c\x00\x04MQTT", [3]uint64{0, 1, 0}},
			"too long":       {Listener{Proxies: loopback, Timeout: time.Hour}, binaryHeader(1, 0x11, string(make([]byte, maxHeader))), [3]uint64{0, 1, 0}},
			"nothing":        {Listener{Proxies: loopback, Timeout: 20 * time.Millisecond}, "", [3]uint64{0, 0, 1}},
			"half of it":     {Listener{Proxies: loopback, Timeout: 20 * time.Millisecond}, "PROXY TCP4 203", [3]uint64{0, 0, 1}},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				e, l, s := runCurious(t, kind, tt.cfg)
				c := dial(t, e)
				io.WriteString(c, tt.send) // may meet a closed socket
				if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("read %d bytes, %v", n, err)
				}
				n := l.Counters()
				if got := [3]uint64{n.Untrusted.Load(), n.Invalid.Load(), n.Late.Load()}; got != tt.want {
					t.Errorf("counted %v, want %v", got, tt.want)
				}
				gone := dial(t, e) // goes before it has said anything
				gone.Close()
				if len(s.opened)+len(s.peers)+len(s.closed) > 0 {
					t.Error("the inner shard got the connection")
				}
			})
		}
	}
}

// TestLimit lets no more connections wait for their header than may, and gives a place back
// when one ends, or before the inner shard gets it.
func TestLimit(t *testing.T) {
	for _, kind := range engines.Kinds {
		t.Run(kind, func(t *testing.T) {
			var waiting, entered atomic.Int32
			s := curious{make(chan netip.AddrPort, 8), make(chan engine.Peer, 64), make(chan error, 8)}
			l := New([]engine.Shard{s}, Config{
				Log:      slog.New(slog.DiscardHandler),
				Listener: func(int) *Listener { return &Listener{Proxies: loopback, Timeout: time.Hour} },
				Enter: func() bool {
					if n := waiting.Add(1); n > 2 {
						waiting.Add(-1)
						return false
					}
					entered.Add(1)
					return true
				},
				Leave: func() { waiting.Add(-1) },
			})
			e := engines.New(t, kind, engine.Listener{Number: 7, Name: "behind"}, l.Shards())
			l.Start(e.Runner)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			t.Cleanup(func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
			first, second := dial(t, e), dial(t, e)
			for entered.Load() < 2 {
				time.Sleep(time.Millisecond)
			}
			if n, err := dial(t, e).Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("a third one is let in: %d, %v", n, err)
			}
			if n := l.Counters().Full.Load(); n != 1 {
				t.Errorf("%d are counted, want 1", n)
			}
			io.WriteString(first, "PROXY UNKNOWN\r\n")
			<-s.opened
			second.Close()
			for waiting.Load() > 0 {
				time.Sleep(time.Millisecond)
			}
			third := dial(t, e)
			io.WriteString(third, "PROXY UNKNOWN\r\n")
			<-s.opened
			if n := waiting.Load(); n != 0 {
				t.Errorf("%d are counted in the end", n)
			}
		})
	}
}
