package enginetest

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"midge/internal/engine"
)

func testEcho(t *testing.T, newEngine New) {
	w := start(t, newEngine, 3, nil)
	var conns []net.Conn
	for range 7 {
		conns = append(conns, w.dial(t))
	}
	for round := range 20 {
		for i, c := range conns {
			send(t, c, pattern(100+i, round))
		}
		for i, c := range conns {
			receive(t, c, pattern(100+i, round))
		}
	}
}

// testParts sends records of 10 bytes in pieces of 7: the rest of each piece
// must come back in front of the next one.
func testParts(t *testing.T, newEngine New) {
	w := start(t, newEngine, 2, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			used := len(b) / 10 * 10
			c.Send(b[:used], nil)
			return used
		}
	})
	c := w.dial(t)
	want := pattern(10*70, 3)
	for i := 0; i < len(want); i += 7 {
		send(t, c, want[i:min(i+7, len(want))])
	}
	receive(t, c, want)
}

// testLarge sends one record of 3 MB that the shard takes only as a whole.
func testLarge(t *testing.T, newEngine New) {
	const size = 3 << 20
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			if len(b) < size {
				return 0
			}
			c.Send(b[:5], b[5:size])
			return size
		}
	})
	c := w.dial(t)
	want := pattern(size, 1)
	for range 2 {
		sent := make(chan error, 1)
		go func() { _, err := c.Write(want); sent <- err }()
		receive(t, c, want)
		if err := await(t, "end of writing", sent); err != nil {
			t.Fatal(err)
		}
	}
}

// testSlowReader sends more than the kernel holds to a peer that reads only
// when the shard has seen the output pending; Drained must follow.
func testSlowReader(t *testing.T, newEngine New) {
	const messages, size = 400, 64 << 10
	pending, drained := make(chan struct{}), make(chan struct{}, 1)
	see := sync.OnceFunc(func() { close(pending) })
	var conn engine.Conn
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			conn = c
			for i := range messages {
				m := pattern(size, i)
				c.Send(m[:3], m[3:])
			}
			return len(b)
		}
		s.turn = func(time.Duration) time.Duration {
			if conn != nil && conn.Pending() > 0 {
				see()
			}
			return engine.Never
		}
		s.drained = func(engine.Conn) {
			select {
			case drained <- struct{}{}:
			default:
			}
		}
	})
	c := w.dial(t)
	send(t, c, []byte("go"))
	await(t, "pending output", pending)
	for i := range messages {
		receive(t, c, pattern(size, i))
	}
	await(t, "Drained", drained)
}

// testPause leaves bytes unused while paused, which must come again after
// Resume although nothing new arrives.
func testPause(t *testing.T, newEngine New) {
	held := make(chan engine.Conn, 1)
	var goOn atomic.Bool
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			if goOn.Load() {
				c.Send(b, nil)
				return len(b)
			}
			c.Pause()
			held <- c
			return 0
		}
	})
	c := w.dial(t)
	want := pattern(200_000, 9)
	send(t, c, want[:1000])
	conn := await(t, "Data", held)
	sent := make(chan error, 1)
	go func() { _, err := c.Write(want[1000:]); sent <- err }()
	// Data during the pause would block the shard: held takes only one.
	held <- nil
	w.Runner.Post(0, func() {
		<-held
		goOn.Store(true)
		conn.Resume()
	})
	receive(t, c, want)
	if err := await(t, "end of writing", sent); err != nil {
		t.Fatal(err)
	}
}

// testCloseByShard closes after a large answer, which must arrive although the
// peer has sent more than was read.
func testCloseByShard(t *testing.T, newEngine New) {
	closed := make(chan error, 2)
	answer := pattern(100_000, 2)
	w := start(t, newEngine, 2, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			c.Send(answer[:2], answer[2:])
			c.Close()
			c.Close()
			c.Send([]byte("not this"), nil)
			return 0
		}
		s.closed = func(_ engine.Conn, err error) { closed <- err }
	})
	c := w.dial(t)
	send(t, c, []byte("x"))
	receive(t, c, answer)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the answer: %d bytes, %v; want EOF", n, err)
	}
	if err := await(t, "Closed", closed); err != nil {
		t.Errorf("Closed with %v, want nil", err)
	}
}

func testCloseByPeer(t *testing.T, newEngine New) {
	closed := make(chan error, 1)
	w := start(t, newEngine, 2, func(s *shard) {
		s.closed = func(_ engine.Conn, err error) { closed <- err }
	})
	c := w.dial(t)
	send(t, c, []byte("abc"))
	c.CloseWrite() // the answer to what came before still arrives
	receive(t, c, []byte("abc"))
	if err := await(t, "Closed", closed); err != io.EOF {
		t.Errorf("Closed with %v, want EOF", err)
	}
}

func testReset(t *testing.T, newEngine New) {
	for _, pause := range []bool{false, true} {
		closed, data := make(chan error, 1), make(chan struct{}, 1)
		w := start(t, newEngine, 1, func(s *shard) {
			s.data = func(c engine.Conn, b []byte) int {
				if pause {
					c.Pause()
				}
				data <- struct{}{}
				return len(b)
			}
			s.closed = func(_ engine.Conn, err error) { closed <- err }
		})
		c := w.dial(t)
		send(t, c, []byte("abc"))
		await(t, "Data", data)
		c.SetLinger(0)
		c.Close()
		if pause {
			// A reader that waits for its shard can't see the reset.
			w.Runner.Post(0, func() {
				for c := range w.shards[0].conns {
					c.Resume()
				}
			})
		}
		if err := await(t, "Closed", closed); err == nil {
			t.Error("Closed with nil after a reset")
		}
		w.stop()
	}
}

// testCloseOfAnother closes one connection from the Data of another, as a
// takeover does, while both are busy.
func testCloseOfAnother(t *testing.T, newEngine New) {
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			for other := range s.conns {
				if other != c {
					other.Close()
				}
			}
			c.Send(b, nil)
			return len(b)
		}
	})
	for round := range 50 {
		a := w.dial(t)
		send(t, a, []byte("a"))
		b, errB := w.connect() // a may have it closed before TLS has shaken hands
		if errB == nil {
			b.SetDeadline(time.Now().Add(patience))
			_, errB = b.Write([]byte("b"))
		}
		a.Write([]byte("a")) // may meet a closed socket
		got := make([]byte, 1)
		_, errA := io.ReadFull(a, got)
		if errB == nil {
			_, errB = io.ReadFull(b, got)
		}
		if errA != nil && errB != nil {
			t.Fatalf("round %d: both closed: %v, %v", round, errA, errB)
		}
		a.Close()
		if b != nil {
			b.Close()
		}
		w.awaitConns(t, 0)
	}
}

// testStop stops an engine with connections in every state.
func testStop(t *testing.T, newEngine New) {
	closed := make(chan error, 64)
	ready := make(chan struct{}, 64)
	w := start(t, newEngine, 3, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			switch b[0] % 4 {
			case 1:
				c.Pause()
			case 2:
				c.Send(pattern(8<<20, 0), nil) // not read
			case 3:
				c.Send(pattern(8<<20, 0), nil)
				c.Close() // lingers
			}
			ready <- struct{}{}
			return 0
		}
		s.closed = func(_ engine.Conn, err error) { closed <- err }
	})
	const conns = 24
	for i := range conns {
		send(t, w.dial(t), []byte{byte(i)})
	}
	for range conns {
		await(t, "Data", ready)
	}
	w.stop()
	for range conns {
		if err := await(t, "Closed", closed); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Closed with %v", err)
		}
	}
	// Nobody waits for what was posted too late.
	called := make(chan struct{})
	w.Runner.Post(1, sync.OnceFunc(func() { close(called) }))
	await(t, "late post", called)
}
