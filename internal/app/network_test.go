package app

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/settings"
)

// curious is an engine.Shard that tells where its connections come from.
type curious struct{ found chan found }

type found struct {
	number int
	name   string
}

func (s curious) Open(engine.Conn) {}

func (s curious) Data(c engine.Conn, b []byte) int {
	s.found <- found{c.Listener(), c.Peer().Listener}
	return len(b)
}
func (s curious) Drained(engine.Conn)              {}
func (s curious) Closed(engine.Conn, error)        {}
func (s curious) Turn(time.Duration) time.Duration { return engine.Never }

// runNetwork runs a network of an engine with a curious shard. It ends with the test.
func runNetwork(t *testing.T, name string, listeners ...engine.Listener) (n network, addresses []net.Addr, seen chan found) {
	t.Helper()
	s := curious{make(chan found, 1)}
	n, addresses = startShard(t, name, s, listeners)
	return n, addresses, s.found
}

// runShard runs a shard on an engine, with one listener, until the test ends.
func runShard(t *testing.T, name string, s engine.Shard, at engine.Listener) network {
	t.Helper()
	n, _ := startShard(t, name, s, []engine.Listener{at})
	return n
}

func startShard(t *testing.T, name string, s engine.Shard, listeners []engine.Listener) (n network, addresses []net.Addr) {
	t.Helper()
	cfg := &config.Loaded{Settings: settings.Settings{Engine: name}}
	n, err := newNetwork(cfg, []engine.Shard{s}, 1, bufpool.New(bufpool.MaxIdle), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skip(err)
	}
	for _, at := range listeners {
		a, err := n.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, a)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n, addresses
}

// TestListenerOfConnection proves that both engines tell by which of several
// listeners a connection has come, also where one has two addresses.
func TestListenerOfConnection(t *testing.T) {
	for _, name := range []string{"epoll", "goroutine"} {
		t.Run(name, func(t *testing.T) {
			const network, address = "tcp", "127.0.0.1:0"
			_, addresses, seen := runNetwork(t, name,
				engine.Listener{Number: 0, Network: network, Address: address},
				engine.Listener{Number: 1, Name: "plant", Network: network, Address: address},
				engine.Listener{Number: 1, Name: "plant", Network: network, Address: address},
				engine.Listener{Number: 200, Name: "office", Network: network, Address: address})
			for i, want := range []found{{0, addresses[0].String()}, {1, "plant"}, {1, "plant"}, {200, "office"}} {
				c, err := net.Dial(network, addresses[i].String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if got := <-seen; got != want {
					t.Errorf("a connection to %v came by %v, want %v", addresses[i], got, want)
				}
			}
		})
	}
}
