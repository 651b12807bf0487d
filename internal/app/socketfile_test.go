package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/packet"
)

// started runs a broker in memory until the test ends or stop is called.
func started(t *testing.T, settings ...string) (b *Broker, stop func()) {
	t.Helper()
	given := []config.Given{{Flag: "--set", Key: "durability", Values: []string{"none"}}}
	for i := 0; i < len(settings); i += 2 {
		given = append(given, config.Given{Flag: "--set", Key: settings[i], Values: []string{settings[i+1]}})
	}
	cfg, err := config.Load(config.Sources{Flags: given})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, err = New(ctx, cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return b, stop
}

// connects checks that MQTT is spoken at an address.
func connects(t *testing.T, network, address string) {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write((&packet.Connect{Version: packet.V311, ClientID: []byte("c"), CleanStart: true}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, []byte{0x20, 2, 0, 0}) {
		t.Errorf("CONNACK %x, %v", got, err)
	}
}

// leaveSocket leaves a file as a process does that was killed.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// TestUnixSocket proves what a broker does with the file of its socket.
func TestUnixSocket(t *testing.T) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			leaveSocket(t, path)
			b, stop := started(t, "engine", engine, "listener.local.address", "unix://"+path, "listener.local.socket_mode", "0606")
			info, err := os.Stat(path)
			if err != nil || info.Mode() != os.ModeSocket|0o606 {
				t.Fatalf("the file is %v, %v", info, err)
			}
			connects(t, "unix", path)
			if got := b.listening[0].String(); got != "unix://"+path {
				t.Errorf("listens on %s", got)
			}
			other, err := config.Load(config.Sources{Flags: []config.Given{
				{Key: "engine", Values: []string{engine}}, {Key: "durability", Values: []string{"none"}}, {Key: "listen", Values: []string{"unix://" + path}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := New(t.Context(), other, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "listens there already") {
				t.Errorf("a second broker at the path: %v", err)
			}
			connects(t, "unix", path)
			stop()
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("the file is left: %v", err)
			}

			_, stop = started(t, "engine", engine, "listen", "unix://"+path)
			if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o660 {
				t.Errorf("by default the file is %v, %v", info, err)
			}
			os.Remove(path)
			leaveSocket(t, path)
			stop()
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("the file of somebody else was removed: %v", err)
			}
		})
	}
}

// TestNoSocket proves that a file which is no socket stays as it is.
func TestNoSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clearSocket(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "x" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// taker is an engine.Shard that sends much, and tells what was taken.
type taker struct {
	conn chan engine.Conn
}

func (s taker) Open(engine.Conn) {}
func (s taker) Data(c engine.Conn, b []byte) int {
	c.Send(make([]byte, 16<<20), nil)
	s.conn <- c
	return len(b)
}
func (s taker) Drained(engine.Conn)              {}
func (s taker) Closed(engine.Conn, error)        {}
func (s taker) Turn(time.Duration) time.Duration { return engine.Never }

// TestTakenOverUnixSocket proves that a slow reader behind a Unix socket is seen to
// take something: else it would be closed as one that reads nothing.
func TestTakenOverUnixSocket(t *testing.T) {
	for _, name := range []string{"epoll", "goroutine"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := taker{conn: make(chan engine.Conn, 1)}
			n := runShard(t, name, s, engine.Listener{Network: "unix", Address: path, Mode: 0o600})
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			conn := <-s.conn
			acked := func() uint64 {
				got := make(chan uint64)
				n.Post(0, func() { got <- conn.Acked() })
				return <-got
			}
			before := acked()
			for range 3 {
				if _, err := io.CopyN(io.Discard, c, 4<<20); err != nil {
					t.Fatal(err)
				}
				after := acked()
				if after <= before {
					t.Errorf("4 MiB were read, and what is taken went from %d to %d", before, after)
				}
				before = after
			}
		})
	}
}
