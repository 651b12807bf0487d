//go:build unix

package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"midge/internal/config"
	"midge/internal/engine"
)

// pass makes a socket that listens one that systemd passes.
func pass(t *testing.T, l net.Listener, name string) []*passed {
	t.Helper()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(f.Fd())) // which becomes the callee's
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	l.Close()
	env := map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": name}
	all, err := passedSockets(func(v string) string { return env[v] }, fd)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestActivation proves which listener goes on with a socket that systemd has opened,
// and that clients reach it.
func TestActivation(t *testing.T) {
	listenOn := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, kind := range []string{"epoll", "goroutine"} {
		for name, tt := range map[string]struct {
			network, address, name string
			settings               func(port, path string) []string
			want                   string // an error
		}{
			"by name": {"tcp", "127.0.0.1:0", "plant", func(_, _ string) []string { return []string{"listener.plant.address", "127.0.0.1:0"} }, ""},
			"by address": {"tcp", "127.0.0.1:0", "midge.socket", func(port, _ string) []string {
				return []string{"listener.plant.address", "127.0.0.1:" + port}
			}, ""},
			"every address": {"tcp", ":0", "", func(port, _ string) []string {
				return []string{"allow_anonymous", "true", "listener.plant.address", ":" + port}
			}, ""},
			"a path": {"unix", "s", "", func(_, path string) []string { return []string{"listener.plant.address", "unix://" + path} }, ""},
			"of nobody": {"tcp", "127.0.0.1:0", "office", func(_, _ string) []string {
				return []string{"listener.plant.address", "127.0.0.1:0"}
			}, "no listener has that name"},
			"open to all": {"tcp", "0.0.0.0:0", "plant", func(_, _ string) []string {
				return []string{"listener.plant.address", "127.0.0.1:0"}
			}, "other machines could connect"},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				address := tt.address
				if tt.network == "unix" {
					address = filepath.Join(t.TempDir(), address)
				}
				l := listenOn(tt.network, address)
				port := ""
				if tcp, ok := l.Addr().(*net.TCPAddr); ok {
					port = strconv.Itoa(tcp.Port)
				}
				b := &Broker{log: slog.New(slog.DiscardHandler), passed: pass(t, l, tt.name)}
				set := append(tt.settings(port, address), "engine", kind)
				var given []config.Given
				for i := 0; i < len(set); i += 2 {
					given = append(given, config.Given{Flag: "--set", Key: set[i], Values: []string{set[i+1]}})
				}
				var err error
				if b.cfg, err = config.Load(config.Sources{Flags: given}); err != nil {
					t.Fatal(err)
				}
				s := curious{make(chan found, 1)}
				if b.network, err = newNetwork(b.cfg, []engine.Shard{s}, 1, nil, b.log); err != nil {
					t.Skip(err)
				}
				err = listenAt(t.Context(), b)
				closePassed(b.passed)
				ctx, stop := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- b.network.Run(ctx) }()
				defer func() {
					stop()
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}()
				if tt.want != "" {
					if err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("got %v, want %q", err, tt.want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				dial := address
				if port != "" {
					dial = "127.0.0.1:" + port
				}
				c, err := net.Dial(tt.network, dial)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if got := <-s.found; got.name != "plant" {
					t.Errorf("the connection came by %q", got.name)
				}
			})
		}
	}
}

// TestNotForUs proves that variables for another process are left alone, and that
// those without meaning are refused.
func TestNotForUs(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"":              {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
		"no number":     {"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": "x"},
		"no number of ": {"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": "100000"},
	} {
		all, err := passedSockets(func(v string) string { return env[v] }, 1000)
		if len(all) > 0 || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, %v", env, all, err)
		}
	}
}

// TestPassedComesAndGoes gives a socket of systemd back, and takes it again.
func TestPassedComesAndGoes(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			r := newReloading(t, "engine", engine, "listener.a.address", "127.0.0.1:0")
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			r.b.reloads.mu.Lock()
			r.b.passed = pass(t, l, "plant")
			r.b.reloads.mu.Unlock()
			for i := range 3 {
				r.must("listener.plant.address", "127.0.0.1:0")
				if got := r.b.listening[1].addr.String(); got != l.Addr().String() {
					t.Errorf("listens on %s, and not on the socket of systemd", got)
				}
				c := r.in(1, fmt.Sprint(i))
				r.must("listener.plant.address", "127.0.0.1:1", "limits.packet_size", "2000") // by its name
				c.lives()
				r.must()
				c.lives()
			}
		})
	}
}
