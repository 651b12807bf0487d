package mqtt3

import (
	"cmp"
	"context"
	"errors"
	"flag"
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

// parallel is how many tests run at a time: most of their time is waiting for
// clocks.
const parallel = "16"

// kind is a way to run the broker.
type kind struct {
	what   string
	memory bool   // everything is in memory; otherwise durability = commit
	engine string // epoll or goroutine; "": what MQTT_ENGINE says, or else what a user of this system gets
	late   bool   // the disk, and who decides who may connect, take their time
}

// kinds are the brokers that Main runs the tests against.
var kinds = []kind{
	{what: "durability = commit"},
	{what: "everything in memory", memory: true},
	{what: "a disk and an authenticator that answer late", engine: "epoll", late: true},
	{what: "a disk and an authenticator that answer late, and goroutines", engine: "goroutine", late: true},
}

// Main runs the tests of a package against each kind of broker, each in this
// process and on a free port; or once against the server at the address in the
// variable MQTT_ADDR, to see what others make of the tests. It returns the exit
// code. address is told the address before the tests begin.
func Main(m *testing.M, address *string) (code int) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *address = os.Getenv("MQTT_ADDR"); *address != "" {
		return m.Run()
	}
	for _, k := range kinds {
		fmt.Println("== a broker with", k.what)
		code = cmp.Or(code, runAgainst(m, address, k))
	}
	return code
}

// runAgainst runs the tests against one broker.
func runAgainst(m *testing.M, address *string, k kind) (code int) {
	dir, err := os.MkdirTemp("", "midge-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	s, err := start(tuning(), k, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the broker:", err)
		return 1
	}
	*address = s.address
	code = m.Run()
	if err := s.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the broker:", err)
		code = cmp.Or(code, 1)
	}
	return code
}

// Tuned is how a server differs from the one of Main.
type Tuned struct {
	ResponseInformation   string
	KeepAlive             time.Duration // the longest of 5.0 clients
	ConnectTimeout        time.Duration
	NoRetained, NoAliases bool
}

// Serve starts a durable broker that ends with the test, for what the server
// of Main does not do. It returns the address.
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
	s, err := start(core, kind{}, t.TempDir())
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
	disk    *disk // nil: in memory
	end     context.CancelFunc
	ended   chan error
}

// start starts a broker on a free port. dir is its data directory.
func start(core settings.Core, k kind, dir string) (*server, error) {
	s := &server{ended: make(chan error, 1)}
	cfg := broker.Config{Shards: 4, Refusing: settings.MaxRefusing}
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
	e, err := listen(k.engine, s.core.Shards())
	if err != nil {
		return nil, err
	}
	if err := s.disk.load(s.core, e.runner.Now()); err != nil {
		return nil, err
	}
	s.address = e.address
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
