//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"midge/internal/engine"
)

// guard is longer than anything takes on a busy machine.
const guard = 2 * time.Minute

// opened is an engine.Shard that counts its connections.
type opened struct{ n int }

func (o *opened) Open(engine.Conn)                      { o.n++ }
func (*opened) Data(_ engine.Conn, b []byte) int        { return len(b) }
func (*opened) Drained(engine.Conn)                     {}
func (*opened) Closed(engine.Conn, error)               {}
func (*opened) Turn(time.Duration) (next time.Duration) { return engine.Never }

// talker is an engine.Shard that sends back what it gets, and wants turns at
// random times.
type talker struct {
	opened
	random *rand.Rand
	quiet  bool         // it wants none
	asked  atomic.Int64 // for a turn at this time
	got    atomic.Int64 // a turn at or after it
}

func (*talker) Data(c engine.Conn, b []byte) int {
	c.Send(b, nil)
	return len(b)
}

func (k *talker) Turn(now time.Duration) time.Duration {
	if k.quiet {
		return engine.Never
	}
	if asked := k.asked.Load(); int64(now) >= asked {
		k.got.Store(asked)
		k.asked.Store(int64(now) + k.random.Int64N(int64(20*time.Millisecond)))
	}
	return time.Duration(k.asked.Load())
}

// run runs an engine until the end of the test, and returns its address.
func run(t *testing.T, e *Engine) string {
	t.Helper()
	addr, err := e.Listen(engine.Listener{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(guard):
			t.Error("Run doesn't end")
		}
	})
	return addr.String()
}

// TestCalmLosesNothing wakes a calm engine in all ways that there are, at random
// moments: by posts from other threads, by connections, and by what a shard wants done
// at some time. Each must have its effect. Alone, nothing else wakes it meanwhile.
func TestCalmLosesNothing(t *testing.T) {
	for _, tt := range []struct {
		name           string
		procs, threads int
		alone          bool
		flip           bool // it becomes busy and calm again
	}{
		{name: "alone", threads: 1, alone: true},
		{name: "alone, busy and calm", threads: 1, alone: true, flip: true},
		{name: "alone, one processor", procs: 1, threads: 1, alone: true},
		{name: "together", threads: 1},
		{name: "together, busy and calm", threads: 2, flip: true},
		{name: "together, one processor", procs: 1, threads: 2, flip: true},
		{name: "together, more processors than cores", procs: 2 * runtime.NumCPU(), threads: 2, flip: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.procs > 0 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(tt.procs))
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := func(i uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, i)) }
			talkers := []*talker{{random: random(1), quiet: tt.alone}, {random: random(2), quiet: tt.alone}}
			e, err := New([]engine.Shard{talkers[0], talkers[1]}, Config{Threads: tt.threads})
			if err != nil {
				t.Fatal(err)
			}
			if e.pollers[0].calm.gate == nil {
				t.Fatal("no gate")
			}
			addr := run(t, e)
			sources := []func(){
				func() { postAll(t, e, random(3), tt.flip) },
				func() {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					postAll(t, e, random(4), tt.flip)
				},
				func() { echoAll(t, addr, random(5)) },
			}
			if tt.alone {
				for _, source := range sources {
					source()
				}
				return
			}
			collecting := make(chan bool)
			go func() { // stop the world now and then
				for {
					select {
					case <-collecting:
						return
					case <-time.After(5 * time.Millisecond):
						runtime.GC()
					}
				}
			}()
			var running sync.WaitGroup
			for _, source := range sources {
				running.Go(source)
			}
			running.Wait()
			close(collecting)
			for i, k := range talkers { // nobody wakes it any more but the clock
				for before, end := k.got.Load(), time.Now().Add(guard); k.got.Load() == before; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("shard %d doesn't get the turn that it wants", i)
					}
				}
			}
		})
	}
}

const rounds = 1000

// postAll posts to both shards, and waits each time until the post is called.
func postAll(t *testing.T, e *Engine, r *rand.Rand, flip bool) {
	first := e.pollers[0]
	done := make(chan bool, 1)
	for n := range rounds {
		turn := flip && r.IntN(4) == 0
		e.Post(r.IntN(2), func() {
			switch now := e.Now(); {
			case !turn:
			case first.calm.on:
				first.goBusy(now)
			default:
				first.goCalm(now)
			}
			done <- true
		})
		select {
		case <-done:
		case <-time.After(guard):
			t.Errorf("post %d is not called", n)
			return
		}
		pause(r)
	}
}

// echoAll writes to a connection, and waits each time until that comes back.
func echoAll(t *testing.T, addr string, r *rand.Rand) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(guard))
	b := []byte{1}
	for n := range rounds {
		if _, err := c.Write(b); err != nil {
			t.Errorf("write %d: %v", n, err)
			return
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Errorf("echo %d: %v", n, err)
			return
		}
		pause(r)
	}
}

// pause waits a random time: sometimes until the engine waits, sometimes about as
// long as it takes to begin with that.
func pause(r *rand.Rand) {
	switch r.IntN(4) {
	case 0:
		time.Sleep(time.Duration(r.IntN(1000)) * time.Microsecond)
	case 1:
		runtime.Gosched()
	case 2:
		for end := time.Now().Add(time.Duration(r.IntN(50)) * time.Microsecond); time.Now().Before(end); {
		}
	}
}

// state asks the first thread whether it is calm and has a ring.
func state(t *testing.T, e *Engine) (calm, ring bool) {
	t.Helper()
	done := make(chan bool)
	e.Post(0, func() {
		calm, ring = e.pollers[0].calm.on, e.pollers[0].ring != nil
		close(done)
	})
	select {
	case <-done:
	case <-time.After(guard):
		t.Fatal("the post is not called")
	}
	return calm, ring
}

// burner is an engine.Shard that works without a pause while it is told to.
type burner struct {
	talker
	on  atomic.Bool
	sum uint32
}

func (b *burner) Turn(now time.Duration) time.Duration {
	if b.on.Load() {
		for i := range uint32(20_000) { // much more than to ask for events
			b.sum = b.sum*31 + i
		}
		return now
	}
	return engine.Never
}

// TestCalmAndBusy proves when an engine is calm.
func TestCalmAndBusy(t *testing.T) {
	b := &burner{}
	e, err := New([]engine.Shard{b}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	addr := run(t, e)
	until := func(want bool, cause string) {
		t.Helper()
		for end := time.Now().Add(guard); ; time.Sleep(10 * time.Millisecond) {
			calm, ring := state(t, e)
			if calm && ring {
				t.Fatal("a calm thread has a ring, which belongs to a thread")
			}
			if calm == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: calm is %v", cause, calm)
			}
		}
	}
	until(true, "at the start")

	conns := make([]net.Conn, 64)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", addr); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	fanOut := func(n int) {
		t.Helper()
		done := make(chan bool)
		e.Post(0, func() {
			i := 0
			e.slab.All(func(c *conn) {
				if i++; i <= n {
					c.Send([]byte{1}, nil)
				}
			})
			close(done)
		})
		<-done
	}
	for opens := 0; opens < len(conns); runtime.Gosched() {
		done := make(chan bool)
		e.Post(0, func() { opens = b.n; close(done) })
		<-done
	}
	until(true, "after the clients have come")
	before := e.counters.Batches.Load()
	fanOut(len(conns))
	until(true, "after a fan-out")
	if n := e.counters.Batches.Load() - before; n > 0 {
		t.Errorf("a calm thread has sent %d batches", n)
	}

	for range 2 { // a ring is made anew
		b.on.Store(true)
		e.Wake(0)
		until(false, "with work")
		before := e.counters.Batches.Load()
		fanOut(len(conns))
		for end := time.Now().Add(guard); e.uring && e.counters.Batches.Load() == before; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatal("a busy thread has sent a fan-out without a batch")
			}
		}
		b.on.Store(false)
		until(true, "without work")
	}
	if !e.uring {
		t.Log("no io_uring here: no batches were expected")
	}
}

// TestCalmLeavesNothing lets more be ready than a turn takes, and nothing come after it: a
// calm engine must not wait before it has taken the rest.
func TestCalmLeavesNothing(t *testing.T) {
	const many = 300 // more than are accepted, and than are found ready, at once
	write := func(n, bytes int) func(t *testing.T, conns []net.Conn) {
		return func(t *testing.T, conns []net.Conn) {
			for _, c := range conns[:n] {
				if _, err := c.Write(make([]byte, bytes)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, tt := range []struct {
		name  string
		conns int                                  // that are open before
		cause func(t *testing.T, conns []net.Conn) // what becomes ready at once
		bytes int                                  // that must have been received then,
		ended int                                  // connections that must have ended,
		opens int                                  // and have been opened
	}{
		{"more than a buffer", 1, write(1, 3*minReadBuffer), 3 * minReadBuffer, 0, 1},
		{"bytes and the end", 1, func(t *testing.T, conns []net.Conn) {
			write(1, 10)(t, conns)
			conns[0].Close()
		}, 10, 1, 1},
		{"many sockets", many, write(many, 1), many, 0, many},
		{"many connections", 0, func(t *testing.T, conns []net.Conn) {}, 0, 0, many},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &counting{}
			e, err := New([]engine.Shard{c}, Config{Threads: 1, ReadBuffer: minReadBuffer})
			if err != nil {
				t.Fatal(err)
			}
			addr := run(t, e)
			var conns []net.Conn
			dial := func(n int) {
				for range n {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { conn.Close() })
					conns = append(conns, conn)
				}
			}
			dial(tt.conns)
			c.await(t, 0, 0, int64(tt.conns))
			stopped, goOn := make(chan bool), make(chan bool)
			e.Post(0, func() { close(stopped); <-goOn })
			<-stopped
			dial(tt.opens - tt.conns)
			tt.cause(t, conns)
			close(goOn)
			c.await(t, int64(tt.bytes), int64(tt.ended), int64(tt.opens))
		})
	}
}

// counting is an engine.Shard that counts what comes.
type counting struct{ bytes, ended, opens atomic.Int64 }

func (c *counting) Open(engine.Conn) { c.opens.Add(1) }

func (c *counting) Data(_ engine.Conn, b []byte) int {
	c.bytes.Add(int64(len(b)))
	return len(b)
}

func (*counting) Drained(engine.Conn)                     {}
func (c *counting) Closed(engine.Conn, error)             { c.ended.Add(1) }
func (*counting) Turn(time.Duration) (next time.Duration) { return engine.Never }

// await waits until so much has come. It doesn't wake the engine.
func (c *counting) await(t *testing.T, bytes, ended, opens int64) {
	t.Helper()
	for end := time.Now().Add(guard); c.bytes.Load() < bytes || c.ended.Load() < ended || c.opens.Load() < opens; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes, %d ends and %d connections have come, not %d, %d and %d",
				c.bytes.Load(), c.ended.Load(), c.opens.Load(), bytes, ended, opens)
		}
	}
}
