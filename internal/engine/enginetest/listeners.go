package enginetest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"midge/internal/engine"
)

// listens is an engine whose listeners come and go while it runs. Runners that carry one
// net.Listener only don't.
type listens interface {
	engine.Runner
	Listen(at engine.Listener) (net.Addr, error)
	Accept(socket net.Addr, at engine.Listener) error
	Unlisten(socket net.Addr) error
	Connections(listener int) int
	Decorate(shard int, with engine.Shard)
}

// startListening runs an engine whose shards answer with the number and the name of the
// listener that a connection came to, and then echo.
func startListening(t *testing.T, newEngine New) (*world, listens) {
	t.Helper()
	w := start(t, newEngine, 3, func(s *shard) {
		s.anyListener = true
		s.data = func(c engine.Conn, b []byte) int {
			if c.Attached() == nil {
				c.Attach(true)
				c.Send(fmt.Appendf(nil, "%d %s\n", c.Listener(), c.Peer().Listener), nil)
				return len(b)
			}
			c.Send(b, nil)
			return len(b)
		}
	})
	if !w.Listens {
		t.Skip("its listeners are those that it begins with")
	}
	return w, w.Runner.(listens)
}

// dialed is a client, and what it was answered.
func dialed(t *testing.T, addr, want string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if want != "" {
		send(t, c, []byte("x"))
		receive(t, c, []byte(want))
	}
	return c
}

// testListeners opens and closes listeners while the engine runs.
func testListeners(t *testing.T, newEngine New) {
	w, e := startListening(t, newEngine)
	first := dialed(t, w.Addr, "255 last\n")
	echoes := func(c net.Conn) {
		t.Helper()
		send(t, c, []byte("echo"))
		receive(t, c, []byte("echo"))
	}

	addr, err := e.Listen(engine.Listener{Number: 7, Name: "seven", Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	early := dialed(t, addr.String(), "") // the kernel keeps it waiting
	send(t, early, []byte("x"))
	if n := e.Connections(7); n != 0 {
		t.Errorf("%d connections before Accept", n)
	}
	if err := e.Accept(addr, engine.Listener{Number: 8, Name: "eight"}); err != nil {
		t.Fatal(err)
	}
	receive(t, early, []byte("8 eight\n"))
	if err := e.Accept(addr, engine.Listener{Number: 9, Name: "nine"}); err != nil {
		t.Fatal(err)
	}
	late := dialed(t, addr.String(), "9 nine\n")
	if e.Connections(7) != 0 || e.Connections(8) != 1 || e.Connections(9) != 1 || e.Connections(255) != 1 {
		t.Errorf("%d, %d, %d and %d connections", e.Connections(7), e.Connections(8), e.Connections(9), e.Connections(255))
	}
	if _, err := e.Listen(engine.Listener{Number: 10, Network: "tcp", Address: addr.String()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the same address twice: %v", err)
	}
	if err := e.Unlisten(addr); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", addr.String()); err == nil {
		c.Close()
		t.Error("it listens still")
	}
	for _, c := range []net.Conn{first, early, late} {
		echoes(c)
	}
	if e.Unlisten(addr) == nil || e.Accept(addr, engine.Listener{}) == nil {
		t.Error("a socket that was closed is there")
	}
	late.Close()
	for deadline := time.Now().Add(patience); e.Connections(9) > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the connection counts for ever")
		}
	}
	again, err := e.Listen(engine.Listener{Number: 9, Name: "another", Network: "tcp", Address: addr.String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Accept(again, engine.Listener{Number: 9, Name: "another"}); err != nil {
		t.Fatal(err)
	}
	echoes(dialed(t, again.String(), "9 another\n"))
	echoes(first)
	w.stop()
	if _, err := e.Listen(engine.Listener{Network: "tcp", Address: "127.0.0.1:0"}); err == nil {
		t.Error("it listens after its end")
	}
	if err := e.Unlisten(again); err == nil {
		t.Error("a socket is open after the end")
	}
}

// testListenerStorm opens, exchanges and closes sockets while clients connect to them: each
// gets its answer or the end of its connection, and no descriptor is left.
func testListenerStorm(t *testing.T, newEngine New) {
	w, e := startListening(t, newEngine)
	stays := dialed(t, w.Addr, "255 last\n")
	var mu sync.Mutex
	current := w.Addr
	over := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				mu.Lock()
				addr := current
				mu.Unlock()
				c, err := net.Dial("tcp", addr)
				if err != nil {
					continue
				}
				c.SetDeadline(time.Now().Add(patience))
				c.Write([]byte("x"))
				if n, err := c.Read(make([]byte, 8)); n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("neither an answer nor an end")
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		})
	}
	before := descriptors()
	const rounds = 300
	for i := range rounds {
		at := engine.Listener{Number: i % 200, Name: "n", Network: "tcp", Address: "127.0.0.1:0"}
		addr, err := e.Listen(at)
		if err == nil && i%3 > 0 {
			err = e.Accept(addr, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		current = addr.String()
		mu.Unlock()
		at.Number = (at.Number + 1) % 200
		if err := e.Accept(addr, at); err != nil {
			t.Error(err)
		}
		if i%2 == 0 {
			runtime.Gosched()
		}
		if err := e.Unlisten(addr); err != nil {
			t.Error(err)
		}
	}
	close(over)
	clients.Wait()
	send(t, stays, []byte("echo"))
	receive(t, stays, []byte("echo"))
	if after := descriptors(); after > before+100 { // connections that the engine has not closed yet
		t.Errorf("%d descriptors before, %d after %d sockets", before, after, rounds)
	}
}

// descriptors are those that the process has open, 0 if the system does not say.
func descriptors() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

// decorated is a shard that counts the calls of Data to another one.
type decorated struct {
	engine.Shard
	data *int
}

func (d decorated) Data(c engine.Conn, b []byte) int {
	*d.data++
	return d.Shard.Data(c, b)
}

// testDecorate puts something between the engine and its shards while there are connections.
func testDecorate(t *testing.T, newEngine New) {
	w, e := startListening(t, newEngine)
	c := dialed(t, w.Addr, "255 last\n")
	counts := make([]int, len(w.shards))
	done := make(chan bool, len(w.shards))
	for i, s := range w.shards {
		e.Post(i, func() {
			e.Decorate(i, decorated{s, &counts[i]})
			done <- true
		})
	}
	for range w.shards {
		await(t, "post", done)
	}
	send(t, c, []byte("echo"))
	receive(t, c, []byte("echo"))
	dialed(t, w.Addr, "255 last\n")
	w.stop()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum < 2 {
		t.Errorf("%d calls of Data went by it", sum)
	}
}
