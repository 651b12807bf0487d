package enginetest

import (
	"fmt"
	"io"
	"net"
	"testing"

	"midge/internal/engine"
)

// testMove hands each connection from shard to shard while bytes arrive.
func testMove(t *testing.T, newEngine New) {
	const shards, hops = 4, 50
	w := start(t, newEngine, shards, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			n, _ := c.Attached().(int)
			if n < hops {
				c.Attach(n + 1)
				c.Send(b[:1], nil)
				to := (s.index + 1 + n%2) % shards
				s.move(c, to)
				return 1 // the others follow
			}
			c.Send(b, nil)
			return len(b)
		}
	})
	want := pattern(5000, 4)
	for range 3 {
		c := w.dial(t)
		for i := 0; i < len(want); i += 100 {
			send(t, c, want[i:i+100])
		}
		receive(t, c, want)
	}
}

// testMovePosted hands each connection from shard to shard by calls that are
// posted, while it is paused and bytes arrive. Each shard takes one byte.
func testMovePosted(t *testing.T, newEngine New) {
	const shards, hops = 4, 20
	for _, early := range []bool{true, false} { // Resume before the move, or after it
		for _, parts := range []int{1, 10, 400} {
			t.Run(fmt.Sprintf("resume before=%t/%d parts", early, parts), func(t *testing.T) {
				w := start(t, newEngine, shards, func(s *shard) {
					s.open = func(c engine.Conn) {
						if c.Attached() != nil && !early {
							c.Resume()
						}
					}
					s.data = func(c engine.Conn, b []byte) int {
						n, _ := c.Attached().(int)
						if n == hops {
							c.Send(b, nil)
							return len(b)
						}
						c.Attach(n + 1)
						c.Send(b[:1], nil)
						c.Pause()
						go s.world.Runner.Post(s.index, func() {
							if !s.conns[c] {
								s.fault("the connection ended before it was moved")
								return
							}
							if early {
								c.Resume()
							}
							s.move(c, (s.index+1+n%2)%shards)
						})
						return 1
					}
				})
				want := pattern(2000, 4)
				for range 3 {
					c := w.dial(t)
					for i := 0; i < len(want); i += len(want) / parts {
						send(t, c, want[i:i+len(want)/parts])
					}
					c.CloseWrite() // what was sent before still counts
					receive(t, c, want)
					if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("after the end: %d bytes, %v; want EOF", n, err)
					}
				}
			})
		}
	}
}

// testMoveBroken moves a paused connection that the peer has reset: the new shard
// hears of the end after Resume.
func testMoveBroken(t *testing.T, newEngine New) {
	held, closed := make(chan engine.Conn, 1), make(chan int, 1)
	w := start(t, newEngine, 2, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			c.Pause()
			c.Attach(s.index)
			held <- c
			return len(b)
		}
		s.open = func(c engine.Conn) {
			if c.Attached() != nil {
				c.Resume()
			}
		}
		s.closed = func(_ engine.Conn, err error) {
			if err == nil {
				s.fault("Closed with nil after a reset")
			}
			closed <- s.index
		}
	})
	c := w.dial(t)
	send(t, c, []byte("abc"))
	conn := await(t, "Data", held)
	from := conn.Attached().(int)
	c.SetLinger(0)
	c.Close()
	seen := make(chan struct{})
	w.Runner.Post(from, func() { close(seen) }) // with it the engine sees the reset
	await(t, "post", seen)
	w.Runner.Post(from, func() { w.shards[from].move(conn, 1-from) })
	if at := await(t, "Closed", closed); at != 1-from {
		t.Errorf("shard %d heard of the end, want %d", at, 1-from)
	}
}

// testPeer asks who is at the other end.
func testPeer(t *testing.T, newEngine New) {
	peers := make(chan engine.Peer, 1)
	w := start(t, newEngine, 1, func(s *shard) {
		s.data = func(c engine.Conn, b []byte) int {
			p := c.Peer()
			if p.Remote != c.Remote() {
				s.fault("Remote is %v, Peer says %v", c.Remote(), p.Remote)
			}
			peers <- p
			return len(b)
		}
	})
	c := w.dial(t)
	send(t, c, []byte("x"))
	want := engine.Peer{
		Listener: w.At.Name,
		Remote:   c.LocalAddr().(*net.TCPAddr).AddrPort(),
		Local:    c.RemoteAddr().(*net.TCPAddr).AddrPort(),
	}
	p := await(t, "Data", peers)
	if secure := p.TLS != nil && p.TLS.HandshakeComplete; secure != w.TLS {
		t.Errorf("of TLS the peer says %+v, want %t", p.TLS, w.TLS)
	}
	if p.TLS = nil; p != want {
		t.Errorf("the peer is %+v, want %+v", p, want)
	}
}
