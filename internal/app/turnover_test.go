package app

import (
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/internal/devcert"
	"midge/internal/packet"
)

// dial connects to a socket as its scheme asks for.
func (r *reloading) dial(s listening) (net.Conn, error) {
	r.Helper()
	c, err := net.Dial(s.addr.Network(), s.addr.String())
	if err != nil {
		return nil, err
	}
	r.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	if s.listener.needs(proxyLayer) {
		io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.2 4711 1883\r\n")
	}
	if s.listener.needs(tlsLayer) {
		ours := r.tls
		if ours == nil {
			ours = &tls.Config{InsecureSkipVerify: true}
		}
		c = tls.Client(c, ours)
	}
	if s.listener.needs(webSocketLayer) {
		return upgraded(r.T, c)
	}
	return c, nil
}

// in connects a client, which must be let in.
func (r *reloading) in(listener int, id string) *session {
	r.Helper()
	s, code := r.connect(listener, id, "", "")
	if code != packet.Success {
		r.Fatal(code)
	}
	return s
}

// certificates makes those of a server, as settings.
func certificates(t *testing.T) (dir string, settings []string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := devcert.Make(dir, []string{"broker.test"}, "somebody", time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir, []string{"tls.certificate", filepath.Join(dir, "server.pem"), "tls.key", filepath.Join(dir, "server-key.pem")}
}

// TestListenersComeAndGo adds a listener of each sort to a running broker, exchanges it for each other sort
// on the same address, and takes it away. Who is connected stays all the time.
func TestListenersComeAndGo(t *testing.T) {
	_, secure := certificates(t)
	sorts := map[string][]string{
		"tcp": {"tcp://127.0.0.1:0"}, "tls": {"tls://127.0.0.1:0"}, "ws": {"ws://127.0.0.1:0/mqtt"}, "wss": {"wss://127.0.0.1:0"},
		"proxy": {"127.0.0.1:0", "listener.b.proxy_protocol", "127.0.0.1", "listener.b.allow_anonymous", "true"},
		"unix":  {"unix://" + filepath.Join(t.TempDir(), "s")},
	}
	for _, engine := range []string{"epoll", "goroutine"} {
		for first, from := range sorts {
			for second, to := range sorts {
				t.Run(fmt.Sprintf("%s/%s to %s", engine, first, second), func(t *testing.T) {
					r := newReloading(t, append([]string{"engine", engine, "listener.a.address", "127.0.0.1:0"}, secure...)...)
					clients := []*session{r.in(0, "a")}
					lives := func(n int) {
						t.Helper()
						for _, c := range clients {
							c.lives()
						}
						if len(r.b.listening) != n {
							t.Fatalf("listens on %v", r.b.listening)
						}
					}
					r.must(append([]string{"listener.b.address"}, from...)...)
					clients = append(clients, r.in(1, "b1"))
					lives(2)
					address := r.b.listening[1].addr.String()
					r.must(append([]string{"listener.b.address"}, to...)...)
					if now := r.b.listening[1].addr.String(); (now == address) != ((first == "unix") == (second == "unix")) {
						t.Errorf("was on %s, and is on %s", address, now)
					}
					clients = append(clients, r.in(1, "b2"))
					lives(2)
					gone := r.b.listening[1]
					r.must()
					lives(1)
					if c, err := net.Dial(gone.addr.Network(), gone.addr.String()); err == nil {
						c.Close()
						t.Error("it listens still")
					}
					if second == "unix" {
						if _, err := os.Stat(gone.addr.String()); err == nil {
							t.Error("the file is there")
						}
					}
					clients = append(clients, r.in(0, "c"))
					lives(1)
					if n := r.b.core.Counters(); n.Connected != uint64(len(clients))+1 { // and the first
						t.Errorf("%d are connected", n.Connected)
					}
				})
			}
		}
	}
}

// TestTurnoverFaults changes much at once of which one thing can't be: nothing of it holds.
func TestTurnoverFaults(t *testing.T) {
	dir, secure := certificates(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(dir, "no socket")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	base := []string{"listener.a.address", "127.0.0.1:0", "listener.gone.address", "[::1]:" + port, "listener.gone.allow_anonymous", "true"}
	for name, wrong := range map[string][]string{
		"an address in use":           {"listener.z.address", taken.Addr().String()},
		"an address that isn't there": {"listener.z.address", "192.0.2.77:1883", "listener.z.allow_anonymous", "true"},
		"no socket":                   {"listener.z.address", "unix://" + file},
		"a directory that is missing": {"listener.z.address", "unix://" + filepath.Join(dir, "no", "s")},
		"no certificate":              {"listener.z.address", "tls://127.0.0.1:0"},
		"no such certificate":         {"listener.a.address", "tls://127.0.0.1:0", "listener.a.tls.certificate", filepath.Join(dir, "none")},
		"no such authority":           append([]string{"listener.z.address", "tls://127.0.0.1:0", "listener.z.tls.ca", file}, secure...),
		"no password file":            {"listener.z.address", "127.0.0.1:0", "listener.z.auth.password_file", filepath.Join(dir, "none")},
		"a fault in a setting":        {"listener.z.address", "127.0.0.1:0", "sys.interval", "soon"},
		"listed twice":                {"listener.z.address", "127.0.0.1:7", "listener.y.address", "127.0.0.1:7"},
	} {
		for _, engine := range []string{"epoll", "goroutine"} {
			t.Run(name+"/"+engine, func(t *testing.T) {
				r := newReloading(t, append([]string{"engine", engine}, base...)...)
				before := slices.Clone(r.b.listening)
				c := r.in(0, "c")
				r.base = []string{"engine", engine, "listener.a.address", "127.0.0.1:0"} // "gone" makes room for all addresses
				change := append([]string{
					"listener.new.address", "127.0.0.1:0", "listener.wide.address", ":" + port, "listener.wide.allow_anonymous", "true",
					"limits.packet_size", "2000", "auth.certificate_user", "cn",
				}, wrong...)
				if err := r.reload(change...); err == nil {
					t.Fatal("no error")
				}
				c.lives()
				r.in(0, "d")
				r.in(1, "e")
				if len(r.b.listening) != 2 || r.b.listening[0].addr != before[0].addr || r.b.listening[1].addr.String() != before[1].addr.String() {
					t.Errorf("listens on %v, before on %v", r.b.listening, before)
				}
				if r.b.reloads.inForce.Limits.PacketSize == 2000 {
					t.Error("a part of it holds")
				}
				if n := r.b.core.Counters(); n.ReloadsFailed != 1 {
					t.Errorf("counted %d", n.ReloadsFailed)
				}
				if strings.HasPrefix(name, "listed") || strings.HasPrefix(name, "a fault") {
					return
				}
				r.must(change[:len(change)-len(wrong)-2]...) // and without what was wrong
				if len(r.b.listening) != 3 {
					t.Errorf("listens on %v", r.b.listening)
				}
				for i := range r.b.listening {
					r.in(i, fmt.Sprint("f", i))
				}
				c.lives()
			})
		}
	}
}

// TestListenerSettings changes what holds for a listener alone, and its name.
func TestListenerSettings(t *testing.T) {
	f := newAccessFiles(t)
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			r := newReloading(t, "engine", engine, "listener.a.address", "127.0.0.1:0")
			r.base = r.base[:2]
			early := r.in(0, "early")
			r.must("listener.a.address", "127.0.0.1:0", "listener.a.limits.connections", "2")
			if _, code := r.connect(0, "third", "", ""); code != packet.QuotaExceeded { // two came before
				t.Errorf("over the listener's limit: %v", code)
			}
			port := r.b.listening[0].addr.String()
			r.must("listener.b.address", "127.0.0.1:0", "listener.b.limits.connections", "2", "listener.b.auth.password_file", f.passwords)
			if now := r.b.listening[0].addr.String(); now != port {
				t.Errorf("was on %s, and is on %s", port, now)
			}
			if _, code := r.connect(0, "c", "", ""); code != packet.NotAuthorized {
				t.Errorf("the other listener asks who it is: %v", code)
			}
			for r.b.network.Connections(r.b.listening[0].listener.number) > 0 { // it counts until it has ended
				time.Sleep(time.Millisecond)
			}
			_, first := r.connect(0, "d", "alice", "right")
			_, second := r.connect(0, "e", "alice", "right")
			if _, third := r.connect(0, "f", "alice", "right"); first != packet.Success || second != packet.Success || third != packet.QuotaExceeded {
				t.Errorf("%v, %v and %v with a limit of 2", first, second, third)
			}
			early.lives()
			if n := r.b.core.Counters(); n.RefusedListener != 2 {
				t.Errorf("counted %d", n.RefusedListener)
			}
		})
	}
}

// TestSocketStays changes the mode of a Unix socket, and what holds for it: clients
// reach it all the time.
func TestSocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := newReloading(t, "listener.a.address", "unix://"+path)
	for i, mode := range []fs.FileMode{0o600, 0o666} {
		r.must("listener.a.socket_mode", fmt.Sprintf("%04o", mode), "listener.b.address", "127.0.0.1:0")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("the mode is %v, %v; want %v", info.Mode(), err, mode)
		}
		r.in(0, fmt.Sprint(i))
	}
}

// TestManyTurnovers opens and closes a thousand listeners. Descriptors, listeners and numbers don't
// become more, although some connections stay for a while.
func TestManyTurnovers(t *testing.T) {
	files := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			r := newReloading(t, "engine", engine, "listener.a.address", "127.0.0.1:0")
			first := r.in(0, "stays")
			var open []*session
			before := files()
			for i := range 500 {
				r.must("listener.n"+fmt.Sprint(i)+".address", "127.0.0.1:0")
				if i%10 > 0 {
					continue
				}
				c := r.in(1, fmt.Sprint(i))
				if open = append(open, c); len(open) > 5 {
					open[0].Close()
					open = open[1:]
				}
			}
			r.must()
			if after := files(); after > before+2*10+4 { // two for each connection in one process, and some that end yet
				t.Errorf("%d descriptors before, %d after", before, after)
			}
			first.lives()
			for _, c := range open {
				c.lives()
			}
			if n := len(r.b.listeners); n > 20 {
				t.Errorf("%d listeners are known", n)
			}
			if n := len(r.b.access.rules); n > 20 {
				t.Errorf("%d rules are known", n)
			}
		})
	}
}

// TestTurnoverStorm reloads again and again, with each kind of layer coming and going, while
// clients connect to a listener that stays, and while others are in the middle of their
// handshakes. The former don't notice.
func TestTurnoverStorm(t *testing.T) {
	_, secure := certificates(t)
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			r := newReloading(t, append([]string{"engine", engine, "listener.a.address", "127.0.0.1:0"}, secure...)...)
			over := make(chan struct{})
			var clients sync.WaitGroup
			stays := r.b.listening[0]
			for i := range 3 {
				clients.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-over:
							return
						default:
						}
						c, err := net.Dial("tcp", stays.addr.String())
						if err != nil {
							t.Error(err)
							return
						}
						c.SetDeadline(time.Now().Add(2 * time.Minute))
						c.Write((&packet.Connect{Version: packet.V311, ClientID: fmt.Appendf(nil, "%d-%d", i, n), CleanStart: true}).Append(nil))
						if first, body, err := readPacket(c); err != nil || first != 0x20 || body[1] != 0 {
							t.Errorf("CONNACK %#x % x, %v", first, body, err)
						}
						c.(*net.TCPConn).SetLinger(0)
						c.Close()
					}
				})
			}
			var half []net.Conn
			for i := range 100 {
				scheme := []string{"tcp", "tls", "ws", "wss"}[i%4]
				r.must("listener.b.address", scheme+"://127.0.0.1:0")
				c, err := net.Dial("tcp", r.b.listening[1].addr.String())
				if err != nil {
					t.Fatal(err)
				}
				c.Write([]byte{0x16, 3, 1}) // the beginning of TLS, or of nonsense
				if half = append(half, c); i%7 == 0 {
					r.must()
				}
			}
			close(over)
			clients.Wait()
			for _, c := range half {
				c.Close()
			}
			r.in(0, "last")
		})
	}
}
