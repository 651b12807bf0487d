package enginetest

import (
	"io"
	"testing"
	"time"

	"midge/internal/engine"
)

// This file is about the ends of connections: what a peer still hears, what is
// still heard of it, and what the end may cost.

// much is more output than the system takes for a peer that does not read.
var much = make([]byte, 8<<20)

// stick sends until the system takes no more, and little more than that.
func stick(c engine.Conn) {
	for c.Pending() == 0 {
		c.Send(much[:1], much[:32<<10])
	}
}

// testLastWord closes a connection whose peer sends on and on without reading.
// It must be able to read the last packet afterwards.
func testLastWord(t *testing.T, newEngine New) {
	answer := pattern(1000, 5)
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			c.Send(answer, nil)
			c.Close()
			return 0
		}
	})
	c := w.dial(t)
	send(t, c, pattern(1<<20, 1)) // 16 reads, far from mostDiscards
	c.CloseWrite()
	receive(t, c, answer)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the answer: %d bytes, %v; want EOF", n, err)
	}
}

// testLastInput resets a connection behind its input, while it is paused or
// not, with output that can't be delivered any more. The input counts.
func testLastInput(t *testing.T, newEngine New) {
	for _, tt := range []struct {
		name         string
		pause, reset bool
		output       int
	}{
		{"closed", false, false, 10},
		{"closed, with output to send", false, false, 1 << 20},
		{"closed while paused", true, false, 10},
		{"closed while paused, with output to send", true, false, 1 << 20},
		{"reset while paused", true, true, 10},
		{"reset while paused, with output to send", true, true, 1 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const size = 40_000 // fits the buffer of a socket
			var got int
			begun, closed := make(chan struct{}, 1), make(chan int, 1)
			w := start(t, newEngine, 1, func(s *shard) {
				s.data = func(c engine.Conn, b []byte) int {
					if got == 0 {
						begun <- struct{}{}
						if tt.pause {
							c.Pause()
						}
					}
					c.Send(much[:tt.output], nil) // for one who has gone: it breaks the connection
					got += len(b)
					return len(b)
				}
				s.closed = func(engine.Conn, error) { closed <- got }
			})
			c := w.dial(t)
			send(t, c, pattern(10, 1))
			await(t, "Data", begun)
			// The rest of what it sends stays in the kernel while it is paused.
			send(t, c, pattern(size-10, 2))
			if tt.reset {
				c.SetLinger(0)
			}
			c.Close() // with unread input, which resets the connection, too
			if tt.pause {
				w.turns(t, 0, 20*time.Millisecond) // the end has arrived
				w.Runner.Post(0, func() {
					for c := range w.shards[0].conns {
						c.Resume()
					}
				})
			}
			if n := await(t, "Closed", closed); n != size && !tt.reset {
				t.Errorf("Data offered %d of %d bytes before Closed", n, size)
			}
		})
	}
}

// turns lets the time pass on the shard's clock and counts its turns meanwhile.
func (w *world) turns(t *testing.T, index int, d time.Duration) int {
	t.Helper()
	counted := make(chan int, 1)
	w.Runner.Post(index, func() {
		s, n := w.shards[index], 0
		end := w.Runner.Now() + d
		s.turn = func(now time.Duration) time.Duration {
			n++
			if now < end {
				return end
			}
			s.turn = nil
			counted <- n
			return engine.Never
		}
	})
	return await(t, "end of the time", counted)
}

// testIdleEnds counts the turns that connections cause which nobody can serve:
// level-triggered events of them come without end if they are not masked.
func testIdleEnds(t *testing.T, newEngine New) {
	const conns, during = 10, 100 * time.Millisecond
	flood := func(t *testing.T, c Client) {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	for _, tt := range []struct {
		name string
		data func(c engine.Conn)
		peer func(t *testing.T, c Client)
	}{
		{"paused, unread input", engine.Conn.Pause, flood},
		{"paused, peer half-closed", engine.Conn.Pause, func(_ *testing.T, c Client) { c.CloseWrite() }},
		{"paused, peer closed", engine.Conn.Pause, func(_ *testing.T, c Client) { c.Close() }},
		{"paused, peer reset", engine.Conn.Pause, func(_ *testing.T, c Client) { c.SetLinger(0); c.Close() }},
		{"paused with output, peer reset", func(c engine.Conn) {
			c.Pause()
			c.Send(much, nil)
		}, func(_ *testing.T, c Client) { c.SetLinger(0); c.Close() }},
		{"output stuck", func(c engine.Conn) { c.Send(much, nil) }, nil},
		{"paused and output stuck, unread input", func(c engine.Conn) {
			c.Pause()
			c.Send(much, nil)
		}, flood},
		{"lingering, peer open", engine.Conn.Close, nil},
		{"lingering, peer closed", engine.Conn.Close, func(_ *testing.T, c Client) { c.Close() }},
		{"lingering, output stuck", func(c engine.Conn) {
			stick(c)
			c.Close()
		}, nil},
		{"lingering, output stuck, unread input", func(c engine.Conn) {
			stick(c)
			c.Close()
		}, func(t *testing.T, c Client) { send(t, c, pattern(10_000, 0)) }},
		{"lingering, output stuck, peer half-closed", func(c engine.Conn) {
			stick(c)
			c.Close()
		}, func(_ *testing.T, c Client) { c.CloseWrite() }},
		{"lingering, peer sends on and on", engine.Conn.Close, flood},
		{"lingering, output stuck, peer sends on and on", func(c engine.Conn) {
			stick(c)
			c.Close()
		}, flood},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{}, conns)
			w := start(t, newEngine, 1, func(s *shard) {
				s.data = func(c engine.Conn, b []byte) int {
					tt.data(c)
					done <- struct{}{}
					return len(b)
				}
			})
			for range conns {
				c := w.dial(t)
				c.SetReadBuffer(4 << 10)
				send(t, c, []byte("x"))
				await(t, "Data", done)
				if tt.peer != nil {
					go func() { tt.peer(t, c) }()
				}
			}
			w.turns(t, 0, 100*time.Millisecond) // what the peers do is done
			// Reads of a peer that sends on and on are bounded, and so is the rest.
			if n := w.turns(t, 0, during); n > conns*5 {
				t.Errorf("%d turns in %v for %d connections that nobody can serve", n, during, conns)
			}
		})
	}
}

// testManyLinger closes more connections than may linger: the first give way
// at once, and the last still get what they were sent.
func testManyLinger(t *testing.T, newEngine New) {
	const conns = engine.MaxLingering + 40
	closed := make(chan struct{}, 1)
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			c.Send(b, nil)
			c.Close()
			return len(b)
		}
		s.closed = func(engine.Conn, error) { closed <- struct{}{} }
	})
	var all []Client
	for range conns {
		c := w.dial(t)
		send(t, c, []byte("x"))
		await(t, "Closed", closed)
		all = append(all, c)
	}
	if n := w.turns(t, 0, time.Millisecond); n < 1 {
		t.Fatal("no turn")
	}
	// Of the first, both directions are closed: what is sent meets a reset.
	for _, c := range all[:conns-engine.MaxLingering] {
		receive(t, c, []byte("x"))
		for { // until the reset has come back
			if _, err := c.Write([]byte("y")); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	for _, c := range all[conns-10:] {
		receive(t, c, []byte("x"))
		send(t, c, []byte("y"))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the end of one that may linger: %v, want EOF", err)
		}
	}
}

// testExhaust lets a second connection ask for what the first had sent before
// it came. All of that must have been offered when it is told.
func testExhaust(t *testing.T, newEngine New) {
	for _, tt := range []struct {
		name  string
		size  int
		end   func(c Client)
		pause bool // the first one is paused when it is asked, and goes on later
	}{
		{"open", 3000, func(Client) {}, false},
		{"open, large", 50_000, func(Client) {}, false},
		{"half-closed", 3000, func(c Client) { c.CloseWrite() }, false},
		{"closed", 3000, func(c Client) { c.Close() }, false},
		{"closed, large", 50_000, func(c Client) { c.Close() }, false},
		{"paused, closed", 50_000, func(c Client) { c.Close() }, true},
		{"nothing sent, closed", 1, func(c Client) { c.Close() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var first engine.Conn
			var ended bool // the first one has got Closed
			var got int
			begun := make(chan struct{}, 1)
			result := make(chan int, 1)
			w := start(t, newEngine, 1, func(s *shard) {
				s.data = func(c engine.Conn, b []byte) int {
					switch {
					case !ended && (first == nil || c == first):
						first = c
						if got == 0 {
							if tt.pause {
								c.Pause()
							}
							begun <- struct{}{}
						}
						got += len(b)
						return len(b)
					case c.Attached() == nil:
						c.Attach(true)
						if ended {
							result <- got
							break
						}
						c.Pause()
						first.Exhaust(func() {
							result <- got
							c.Resume()
						})
						if tt.pause {
							s.world.Runner.Post(0, first.Resume)
						}
						return 0
					}
					c.Send(b, nil)
					return len(b)
				}
				s.closed = func(c engine.Conn, _ error) { ended = ended || c == first }
			})
			for round := range 30 {
				reset := make(chan struct{})
				w.Runner.Post(0, func() { first, ended, got = nil, false, 0; close(reset) })
				await(t, "reset", reset)
				a := w.dial(t)
				send(t, a, []byte("x"))
				await(t, "Data", begun)
				send(t, a, pattern(tt.size-1, round))
				tt.end(a)
				b := w.dial(t)
				send(t, b, []byte("y"))
				if n := await(t, "then", result); n != tt.size {
					t.Fatalf("round %d: %d of %d bytes were offered before", round, n, tt.size)
				}
				receive(t, b, []byte("y")) // it goes on
				a.Close()
				b.Close()
				w.awaitConns(t, 0)
			}
		})
	}
}
