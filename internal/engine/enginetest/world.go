package enginetest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"midge/internal/engine"
)

// patience bounds every wait for something that should happen.
const patience = 5 * time.Minute

// Client is the other end of a connection. A *net.TCPConn is one.
type Client interface {
	net.Conn
	CloseWrite() error           // the end of its output
	SetLinger(seconds int) error // of the socket
	SetReadBuffer(bytes int) error
}

// world is a running engine with its shards.
type world struct {
	Engine
	shards []*shard
	stop   func() // stops the engine and waits for its end
}

// start runs n shards that behave as behave says, which is called for each.
func start(t *testing.T, newEngine New, n int, behave func(*shard)) *world {
	t.Helper()
	w := &world{}
	handlers := make([]engine.Shard, n)
	for i := range n {
		s := &shard{index: i, world: w, conns: map[engine.Conn]bool{}}
		if behave != nil {
			behave(s)
		}
		w.shards = append(w.shards, s)
		handlers[i] = s
	}
	w.Engine = newEngine(t, handlers)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Engine.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run = %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(func() {
		w.stop()
		for _, s := range w.shards {
			for _, fault := range s.faults {
				t.Errorf("shard %d: %s", s.index, fault)
			}
			if len(s.conns) > 0 {
				t.Errorf("shard %d: %d connections without Closed", s.index, len(s.conns))
			}
		}
	})
	return w
}

// dial connects to the engine.
func (w *world) dial(t *testing.T) Client {
	t.Helper()
	c, err := w.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// connect connects to the engine.
func (w *world) connect() (Client, error) {
	if w.Dial != nil {
		return w.Dial(w.Addr)
	}
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// send writes b, and fails the test if that fails.
func send(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// receive reads len(want) bytes and compares them.
func receive(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("after %d of %d bytes: %v", n, len(want), err)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("byte %d of %d: %#x, want %#x", i, len(want), got[i], want[i])
		}
	}
}

// await takes a value from ch.
func await[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return v
}

// pattern returns n bytes that differ from their neighbours and from those of
// other seeds.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed)
	}
	return b
}
