package mqtt3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
)

// Main runs the tests of a package against one server and returns the exit
// code: a broker in this process, on a free port, or the server at the address
// in the variable MQTT_ADDR, to see what others make of the tests. address is
// told the address before the tests begin.
func Main(m *testing.M, address *string) int {
	if *address = os.Getenv("MQTT_ADDR"); *address != "" {
		return m.Run()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b := broker.New(config())
	run, err := listen(b, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the broker:", err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	code := m.Run()
	if err := b.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stop the broker:", err)
		code = cmp.Or(code, 1)
	}
	cancel()
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, "the engine ended:", err)
		code = cmp.Or(code, 1)
	}
	return code
}

// Tuned is how a server differs from the one of Main.
type Tuned struct {
	ResponseInformation   string
	KeepAlive             time.Duration // the longest of 5.0 clients
	NoRetained, NoAliases bool
}

// Serve starts a broker that ends with the test, for what the server of Main
// does not do. It returns the address.
func Serve(t *testing.T, tuned Tuned) (address string) {
	t.Helper()
	cfg := config()
	cfg.Session.ResponseInformation, cfg.Session.KeepAlive = tuned.ResponseInformation, tuned.KeepAlive
	if tuned.NoRetained {
		cfg.Limits.RetainedMessages = -1
	}
	if tuned.NoAliases {
		cfg.Limits.TopicAliases = -1
	}
	b := broker.New(cfg)
	run, err := listen(b, &address)
	if err != nil {
		t.Fatal("start the broker: ", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		if err := b.Shutdown(ctx); err != nil {
			t.Error("stop the broker: ", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error("the engine ended: ", err)
		}
	})
	return address
}

// config has the limits that some tests need to reach, or not to reach.
func config() broker.Config {
	return broker.Config{
		Limits: broker.Limits{
			ConnectTimeout: time.Second,
			TopicLength:    65_535,
		},
		Sys: -1,
	}
}

// listen prepares the engine that a user of this system gets, or the one for
// every system if MQTT_ENGINE is "goroutine".
func listen(b *broker.Broker, address *string) (run func(context.Context) error, err error) {
	const anyPort = "127.0.0.1:0"
	shards := b.Shards()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if os.Getenv("MQTT_ENGINE") != "goroutine" {
		e, err := epoll.New(shards, epoll.Config{Log: log})
		if err == nil {
			addr, err := e.Listen(anyPort)
			if err != nil {
				return nil, err
			}
			*address = addr.String()
			b.Start(e)
			return e.Run, nil
		}
		if !errors.Is(err, engine.ErrUnsupported) {
			return nil, err
		}
	}
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		return nil, err
	}
	*address = ln.Addr().String()
	threads := gonet.New(shards, gonet.Config{Log: log})
	b.Start(threads)
	return func(ctx context.Context) error {
		running, end := context.WithCancel(context.Background())
		defer end()
		ended := make(chan error, 1)
		go func() { ended <- threads.Run(running) }()
		err := gonet.Serve(ctx, threads, shards, ln, gonet.Config{Log: log})
		end()
		return errors.Join(err, <-ended)
	}, nil
}
