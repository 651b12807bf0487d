//go:build amd64 || arm64 || loong64 || riscv64

package epoll_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/epoll"
)

func TestEngine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   epoll.Config
		procs int  // GOMAXPROCS, 0: as it is
		busy  bool // never calm
	}{
		{name: "uring"},
		{name: "plain", cfg: epoll.Config{NoUring: true}},
		{name: "three threads", cfg: epoll.Config{Threads: 3}},
		{name: "one thread", cfg: epoll.Config{Threads: 1}},
		{name: "small buffer", cfg: epoll.Config{ReadBuffer: 1}},
		{name: "busy", busy: true},
		{name: "one processor", cfg: epoll.Config{Threads: 3}, procs: 1},
		{name: "busy, one processor", cfg: epoll.Config{Threads: 3}, procs: 1, busy: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.procs > 0 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(tt.procs))
			}
			var mu sync.Mutex // some tests of the suite run side by side
			var engines []*epoll.Engine
			enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
				e, err := epoll.New(shards, tt.cfg)
				if err != nil {
					t.Fatal(err)
				}
				at := engine.Listener{Number: engine.MaxListeners - 1, Name: "last", Network: "tcp", Address: "127.0.0.1:0"}
				addr, err := e.Listen(at)
				if err != nil {
					t.Fatal(err)
				}
				if tt.busy {
					e.NeverCalm()
				}
				mu.Lock()
				defer mu.Unlock()
				engines = append(engines, e)
				return enginetest.Engine{Runner: e, At: at, Addr: addr.String(), Run: e.Run, Listens: true}
			})
			var handovers, batches uint64
			for _, e := range engines {
				handovers += e.Counters().Handovers.Load()
				batches += e.Counters().Batches.Load()
				if n := e.Counters().Open.Load(); n != 0 {
					t.Errorf("%d connections open after the end", n)
				}
			}
			// The suite's fan-out is large enough for other threads to take part.
			if tt.cfg.Threads > 1 && handovers == 0 {
				t.Error("no shard moved to another thread")
			}
			if tt.cfg.NoUring && batches > 0 {
				t.Errorf("%d batches of io_uring, which was switched off", batches)
			}
		})
	}
}

// echo is an engine.Shard that sends back what it gets.
type echo struct{}

func (echo) Open(engine.Conn) {}
func (echo) Data(c engine.Conn, b []byte) int {
	c.Send(b, nil)
	return len(b)
}
func (echo) Drained(engine.Conn)              {}
func (echo) Closed(engine.Conn, error)        {}
func (echo) Turn(time.Duration) time.Duration { return engine.Never }

// TestDescriptorsUsedUp connects more clients than the process has
// descriptors for. Those that fit are served, and the others when there is room.
func TestDescriptorsUsedUp(t *testing.T) {
	var log strings.Builder
	e, err := epoll.New([]engine.Shard{echo{}, echo{}}, epoll.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := e.Listen(engine.Listener{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	const clients, room = 20, 5
	conns := make([]net.Conn, clients)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", addr.String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		conns[i].SetDeadline(time.Now().Add(5 * time.Minute))
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(descriptors(t)) + room
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	talk := func(c net.Conn) {
		t.Helper()
		b := []byte{1}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns { // each leaves, which makes room for two others
		talk(c)
		c.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if e.Counters().Refused.Load() == 0 {
		t.Error("no accept was refused: the test proves nothing")
	}
	if n := strings.Count(log.String(), "RLIMIT_NOFILE"); n != 1 {
		t.Errorf("the limit is named %d times, want once:\n%s", n, log.String())
	}
}

// descriptors is the number of the next free descriptor.
func descriptors(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return int(f.Fd())
}

// TestNothingLeaks runs engines one after the other and counts descriptors.
func TestNothingLeaks(t *testing.T) {
	round := func() {
		e, err := epoll.New([]engine.Shard{echo{}, echo{}, echo{}}, epoll.Config{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := e.Listen(engine.Listener{Network: "tcp", Address: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b := []byte{1}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	round()
	before := open(t)
	for range 10 {
		round()
	}
	if after := open(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

// open is the number of open descriptors.
func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestListen(t *testing.T) {
	e, err := epoll.New([]engine.Shard{echo{}}, epoll.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ addr, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{":0", "127.0.0.1"},
		{":0", "::1"},
	} {
		a, err := e.Listen(engine.Listener{Network: "tcp", Address: tt.addr})
		if err != nil {
			t.Errorf("Listen(%q): %v", tt.addr, err)
			continue
		}
		c, err := net.Dial("tcp", net.JoinHostPort(tt.dial, strconv.Itoa(a.(*net.TCPAddr).Port)))
		if err != nil {
			t.Errorf("dial %s of %q: %v", tt.dial, tt.addr, err)
			continue
		}
		if _, err := e.Listen(engine.Listener{Network: "tcp", Address: c.RemoteAddr().String()}); err == nil {
			t.Errorf("Listen(%q) twice succeeds", c.RemoteAddr())
		}
		c.Close()
	}
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:70000", "256.1.1.1:1"} {
		if a, err := e.Listen(engine.Listener{Network: "tcp", Address: addr}); err == nil {
			t.Errorf("Listen(%q) = %v", addr, a)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Run(ctx); err != nil {
		t.Error(err)
	}
}
