package enginetest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"midge/internal/engine"
)

// testWake passes a ball between the shards by Wake, many thousand times: one
// lost wake-up stops it.
func testWake(t *testing.T, newEngine New) {
	const shards, rounds = 4, 20_000
	var balls [shards]atomic.Int32
	done := make(chan struct{})
	var left atomic.Int32
	left.Store(rounds)
	w := start(t, newEngine, shards, func(s *shard) {
		s.turn = func(time.Duration) time.Duration {
			for range balls[s.index].Swap(0) {
				if left.Add(-1) == 0 {
					close(done)
				}
				if left.Load() > 0 {
					next := (s.index + 1) % shards
					balls[next].Add(1)
					s.world.Runner.Wake(next)
				}
			}
			return engine.Never
		}
	})
	for i := range 3 {
		balls[i].Add(1)
		w.Runner.Wake(i)
	}
	await(t, "end of the game", done)
}

// testPost posts from several goroutines: nothing is lost, and the calls of
// each keep their order.
func testPost(t *testing.T, newEngine New) {
	const shards, writers, posts = 3, 4, 3000
	w := start(t, newEngine, shards, nil)
	var wg, called sync.WaitGroup
	var last [shards][writers]int
	var bad atomic.Int32
	for p := range writers {
		wg.Go(func() {
			for i := range posts {
				s := i % shards
				called.Add(1)
				w.Runner.Post(s, func() {
					defer called.Done()
					if last[s][p] > i {
						bad.Add(1)
					}
					last[s][p] = i
				})
			}
		})
	}
	wg.Wait()
	called.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d posts out of order", n)
	}
}

// testTimer counts turns that the shard asked for, none of them early.
func testTimer(t *testing.T, newEngine New) {
	done := make(chan struct{})
	var due time.Duration
	n := 0
	w := start(t, newEngine, 2, func(s *shard) {
		if s.index == 1 {
			s.turn = func(now time.Duration) time.Duration {
				if now < due {
					return due
				}
				if n++; n == 10 {
					close(done)
					return engine.Never
				}
				due = now + 3*time.Millisecond
				return due
			}
		}
	})
	await(t, "tenth turn", done)
	if now := w.Runner.Now(); now < 9*3*time.Millisecond {
		t.Errorf("ten turns 3 ms apart ended after %v", now)
	}
}

// testFanOut sends what one connection sends to all connections of all shards.
func testFanOut(t *testing.T, newEngine New) {
	const shards, conns, rounds = 4, 1200, 15
	w := start(t, newEngine, shards, func(s *shard) {
		s.data = func(_ engine.Conn, b []byte) int {
			m := append([]byte(nil), b...)
			for _, to := range s.world.shards {
				to.post(m)
			}
			return len(b)
		}
	})
	var all []net.Conn
	for range conns {
		c := w.dial(t)
		all = append(all, c)
	}
	w.awaitConns(t, conns)
	for round := range rounds {
		m := pattern(200, round)
		send(t, all[round*7%conns], m)
		for _, c := range all {
			receive(t, c, m)
		}
	}
}

// awaitConns waits until the shards know n connections.
func (w *world) awaitConns(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := 0
		for i, s := range w.shards {
			count := make(chan int, 1)
			w.Runner.Post(i, func() { count <- len(s.conns) })
			got += await(t, "count", count)
		}
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, want %d", got, n)
		}
	}
}

// testCrowd opens and closes many connections at once while one works on.
func testCrowd(t *testing.T, newEngine New) {
	w := start(t, newEngine, 4, nil)
	worker := w.dial(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				c, err := w.connect()
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				b := []byte{byte(i), byte(g)}
				if i%3 > 0 {
					if _, err := c.Write(b); err != nil {
						t.Error(err)
					}
				}
				if i%3 > 1 {
					if _, err := c.Read(b); err != nil {
						t.Error(err)
					}
				}
				c.Close()
			}
		})
	}
	for i := range 200 {
		send(t, worker, pattern(50, i))
		receive(t, worker, pattern(50, i))
	}
	wg.Wait()
	worker.Close()
	w.awaitConns(t, 0)
}

// testStorm lets every connection send to the shard after its own without
// waiting for answers; each byte must arrive.
func testStorm(t *testing.T, newEngine New) {
	const shards, conns, messages, size = 4, 40, 300, 64
	w := start(t, newEngine, shards, func(s *shard) {
		s.data = func(_ engine.Conn, b []byte) int {
			used := len(b) / size * size
			if used > 0 {
				s.world.shards[(s.index+1)%shards].post(append([]byte(nil), b[:used]...))
			}
			return used
		}
	})
	all := make([]net.Conn, conns)
	for i := range all {
		all[i] = w.dial(t)
	}
	w.awaitConns(t, conns)
	// Connections are spread evenly, so each receives what conns/shards sent.
	perShard := make([]int, shards)
	for i, s := range w.shards {
		n := make(chan int, 1)
		w.Runner.Post(i, func() { n <- len(s.conns) })
		perShard[i] = await(t, "count", n)
		if perShard[i] != conns/shards {
			t.Fatalf("shard %d has %d of %d connections", i, perShard[i], conns)
		}
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			for i := range messages {
				if _, err := c.Write(pattern(size, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			want := conns / shards * messages * size
			b := make([]byte, 64<<10)
			for want > 0 {
				n, err := c.Read(b)
				if err != nil {
					t.Errorf("%d bytes missing: %v", want, err)
					return
				}
				want -= n
			}
		})
	}
	wg.Wait()
}
