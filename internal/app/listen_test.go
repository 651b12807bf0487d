package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/settings"
)

func loadedWith(t *testing.T, listen string, settings ...string) *config.Loaded {
	t.Helper()
	given := []config.Given{
		{Flag: "--listen", Key: "listen", Values: strings.Fields(listen)}, {Flag: "--set", Key: "allow_anonymous", Values: []string{"true"}},
	}
	for i := 0; i < len(settings); i += 2 {
		given = append(given, config.Given{Flag: "--set", Key: settings[i], Values: []string{settings[i+1]}})
	}
	cfg, err := config.Load(config.Sources{Flags: given})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestListenTogether proves which addresses can be listened on together, and
// by which a client reaches them, on both engines.
func TestListenTogether(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6: ", err)
	} else {
		l.Close()
	}
	for _, engine := range []string{"auto", "goroutine"} {
		for _, tt := range []struct {
			listen    string
			listeners int
			v4, v6    bool
		}{
			{"0.0.0.0:PORT [::]:PORT", 2, true, true},
			{"[::]:PORT 0.0.0.0:PORT", 2, true, true},
			{"[::]:PORT 127.0.0.1:PORT", 2, true, true},
			{"[::]:PORT", 1, true, true},
			{":PORT", 1, true, true},
			{"0.0.0.0:PORT", 1, true, false},
			{"[::1]:PORT", 1, false, true},
			{"127.0.0.1:PORT", 1, true, false},
			{"127.0.0.1:PORT [::1]:PORT", 2, true, true},
			{"localhost:PORT", 2, true, true},
			{"localhost:0", 2, true, true},
		} {
			t.Run(engine+"/"+tt.listen, func(t *testing.T) {
				cfg := loadedWith(t, strings.ReplaceAll(tt.listen, "PORT", freePort(t)), "engine", engine)
				b := &Broker{cfg: cfg, log: slog.New(slog.DiscardHandler)}
				core := broker.New(broker.Config{Shards: 4}, settings.Default().Core)
				var err error
				if b.network, err = newNetwork(cfg, core.Shards(), 0, nil, b.log); err != nil {
					t.Fatal(err)
				}
				core.Start(b.network) // what connects is accepted at the end
				defer func() {
					ended, end := context.WithCancel(context.Background())
					end()
					b.network.Run(ended) // that closes it
				}()
				if err := listenAt(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if len(b.listening) != tt.listeners {
					t.Errorf("listens on %v, want %d", b.listening, tt.listeners)
				}
				for host, want := range map[string]bool{"127.0.0.1": tt.v4, "::1": tt.v6} {
					c, err := net.Dial("tcp", net.JoinHostPort(host, portOf(b.listening[0].addr)))
					if (err == nil) != want {
						t.Errorf("dial %s: %v, want success: %v", host, err, want)
					}
					if err == nil {
						c.Close()
					}
				}
			})
		}
	}
}

// freePort is a port that is free on both loopback addresses.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return portOf(l.Addr())
}

// slowNetwork has its address after some attempts only.
type slowNetwork struct {
	network
	missing int
	err     error
	calls   []time.Duration
	start   time.Time
}

func (n *slowNetwork) Listen(engine.Listener) (net.Addr, error) {
	n.calls = append(n.calls, time.Since(n.start))
	if len(n.calls) <= n.missing {
		return nil, fmt.Errorf("bind: %w", n.err)
	}
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1883}, nil
}

// TestListenWait proves that an address that is not there yet is waited for,
// less and less often, as long as the setting says, and nothing else is.
func TestListenWait(t *testing.T) {
	for _, tt := range []struct {
		name    string
		missing int
		err     error
		wait    string
		calls   int // more or less
		took    time.Duration
		want    string // of the error
		log     string
	}{
		{"there", 0, nil, "30s", 1, 0, "", "everybody who reaches"},
		{"comes", 3, syscall.EADDRNOTAVAIL, "30s", 4, 700 * time.Millisecond, "", "the address is there"},
		{"comes late", 10, syscall.EADDRNOTAVAIL, "1h", 11, 26300 * time.Millisecond, "", "the address is there"},
		{"a name", 3, &net.DNSError{Err: "no such host", Name: "h"}, "30s", 4, 700 * time.Millisecond, "", "the address is there"},
		{"an interface", 3, errNoInterface, "30s", 4, 700 * time.Millisecond, "", "the address is there"},
		{"never", 1000, syscall.EADDRNOTAVAIL, "30s", 12, 30 * time.Second, "this machine has no such address", "within=30s"},
		{"no waiting", 1000, syscall.EADDRNOTAVAIL, "0s", 1, 0, "this machine has no such address", ""},
		{"in use", 1000, syscall.EADDRINUSE, "30s", 1, 0, "uses port 1883 already", ""},
		{"not allowed", 1000, syscall.EACCES, "30s", 1, 0, "not allowed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				n := &slowNetwork{missing: tt.missing, err: tt.err, start: time.Now()}
				b := &Broker{
					cfg: loadedWith(t, "192.0.2.1:1883", "listen_wait", tt.wait), network: n,
					log: slog.New(slog.NewTextHandler(&log, nil)),
				}
				err := listenAt(t.Context(), b)
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if took := time.Since(n.start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if len(n.calls) != tt.calls {
					t.Errorf("%d attempts at %v, want %d", len(n.calls), n.calls, tt.calls)
				}
				if !strings.Contains(log.String(), tt.log) || tt.log == "" && log.Len() > 0 {
					t.Errorf("the log says\n%swant %q", log.String(), tt.log)
				}
			})
		})
	}
}

// TestListenWaitEnds proves that a signal ends the waiting.
func TestListenWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		n := &slowNetwork{missing: 1000, err: syscall.EADDRNOTAVAIL, start: time.Now()}
		b := &Broker{cfg: loadedWith(t, "192.0.2.1:1883", "listen_wait", "1h"), network: n, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		if err := listenAt(ctx, b); err == nil {
			t.Error("no error")
		}
		if took := time.Since(n.start); took != 3*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

// TestNoIPv6 proves that localhost works where there is no [::1].
func TestNoIPv6(t *testing.T) {
	n := &v4Network{}
	b := &Broker{cfg: loadedWith(t, "localhost:0"), network: n, log: slog.New(slog.DiscardHandler)}
	if err := listenAt(t.Context(), b); err != nil || len(b.listening) != 1 {
		t.Errorf("listens on %v, %v", b.listening, err)
	}
	if n.second != "[::1]:4711" {
		t.Errorf("the second address was %s, want the port of the first", n.second)
	}
}

type v4Network struct {
	network
	second string
}

func (n *v4Network) Listen(at engine.Listener) (net.Addr, error) {
	if at.Address == "127.0.0.1:0" {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}, nil
	}
	n.second = at.Address
	return nil, errors.Join(errors.New("bind"), syscall.EADDRNOTAVAIL)
}

// listenAt opens the listeners of a broker that is not built otherwise.
func listenAt(ctx context.Context, b *Broker) error {
	if err := b.makeListeners(); err != nil {
		return err
	}
	return b.listenAll(ctx)
}
