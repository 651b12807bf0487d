package mqtt3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"midge/internal/broker"
	"midge/internal/engine"
	"midge/internal/engine/epoll"
	"midge/internal/engine/gonet"
	"midge/internal/settings"
	"midge/internal/store/storetest"
)

// Tuned is how a server differs from the one of Main.
type Tuned struct {
	ResponseInformation   string
	KeepAlive             time.Duration // the longest of 5.0 clients
	ConnectTimeout        time.Duration
	NoRetained, NoAliases bool
	Authenticator         broker.Authenticator
}

// Serve starts a durable broker that ends with the test, for what the server
// of Main does not do. Its transport is the same. It returns the address.
func Serve(t *testing.T, tuned Tuned) (address string) {
	t.Helper()
	core := tuning()
	core.Session.ResponseInformation, core.Session.KeepAlive = tuned.ResponseInformation, tuned.KeepAlive
	if tuned.ConnectTimeout != 0 {
		core.Limits.ConnectTimeout = tuned.ConnectTimeout
	}
	if tuned.NoRetained {
		core.Limits.RetainedMessages = 0
	}
	if tuned.NoAliases {
		core.Limits.TopicAliases = 0
	}
	return serve(t, core, kind{transport: served, asks: tuned.Authenticator})
}

// serve starts a broker that ends with the test.
func serve(t *testing.T, core settings.Core, k kind) (address string) {
	t.Helper()
	s, err := start(core, k, t.TempDir())
	if err != nil {
		t.Fatal("start the broker: ", err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error("stop the broker: ", err)
		}
	})
	return s.address
}

// tuning are the settings of the server of Main: an answer may take as long as the
// machine likes, and nothing comes by itself.
func tuning() settings.Core {
	core := settings.Default().Core
	core.Limits.ConnectTimeout = time.Hour
	core.Sys.Interval = 0
	return core
}

// server is a running broker.
type server struct {
	address string
	core    *broker.Broker
	layers  layers
	disk    *disk // nil: in memory
	end     context.CancelFunc
	ended   chan error
}

// start starts a broker on a free port. dir is its data directory.
func start(core settings.Core, k kind, dir string) (*server, error) {
	s := &server{ended: make(chan error, 1)}
	cfg := broker.Config{Shards: 4, Refusing: settings.MaxRefusing, Authenticator: k.asks}
	pause := func() {}
	if k.late {
		seed := rand.Uint64()
		fmt.Println("seed", seed)
		pause = storetest.Delays(seed, mostDelay)
		cfg.Authenticator = lateAuthenticator{pause}
	}
	if !k.memory {
		var err error
		if s.disk, err = openDisk(cfg.Shards, dir, pause); err != nil {
			return nil, err
		}
		cfg.Store = s.disk.store
	}
	s.core = broker.New(cfg, core)
	var err error
	s.layers, err = layersOf(k.transport, k.compact, s.core.Shards(), dir)
	if err != nil {
		return nil, err
	}
	e, err := listen(k.engine, s.layers.shards)
	if err != nil {
		return nil, err
	}
	s.layers.start(e.runner)
	if err := s.disk.load(s.core, e.runner.Now()); err != nil {
		return nil, err
	}
	s.address = cmp.Or(k.transport, tcp) + "://" + e.address
	s.core.Start(e.runner)
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	go func() { s.ended <- e.run(ctx) }()
	return s, nil
}

// stop stops the broker, in the order of package app.
func (s *server) stop() error {
	err := s.core.Shutdown(context.Background())
	s.end()
	return errors.Join(err, <-s.ended, s.disk.close())
}

// network is an engine that listens.
type network struct {
	address string
	runner  engine.Runner
	run     func(context.Context) error
}

// listen prepares an engine of a kind.
func listen(name string, shards []engine.Shard) (*network, error) {
	const anyPort = "127.0.0.1:0"
	log := slog.New(slog.DiscardHandler)
	if cmp.Or(name, os.Getenv("MQTT_ENGINE")) != "goroutine" {
		e, err := epoll.New(shards, epoll.Config{Log: log})
		if err == nil {
			addr, err := e.Listen(engine.Listener{Network: "tcp", Address: anyPort})
			if err != nil {
				return nil, err
			}
			return &network{addr.String(), e, e.Run}, nil
		}
		if !errors.Is(err, engine.ErrUnsupported) {
			return nil, err
		}
	}
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		return nil, err
	}
	threads := gonet.New(shards, gonet.Config{Log: log})
	return &network{ln.Addr().String(), threads, func(ctx context.Context) error {
		running, end := context.WithCancel(context.Background())
		defer end()
		ended := make(chan error, 1)
		go func() { ended <- threads.Run(running) }()
		err := gonet.Serve(ctx, threads, shards, ln, gonet.Config{Log: log})
		end()
		return errors.Join(err, <-ended)
	}}, nil
}
