//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"io"
	"net"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/input"
)

// whole is an engine.Shard that uses packets of one size, when all of one has come.
type whole struct {
	opened
	size int
}

func (w *whole) Data(_ engine.Conn, b []byte) int { return len(b) / w.size * w.size }

// TestHeldInput proves that what a connection holds is near what it has sent, also behind
// a large packet, and that what comes in small pieces is not copied for each.
func TestHeldInput(t *testing.T) {
	const size = 1 << 20
	w := &whole{size: size}
	e, err := New([]engine.Shard{w}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := net.Dial("tcp", run(t, e))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	// look returns what the connection has when it has so many bytes.
	look := func(bytes int) (held int, first *byte) {
		t.Helper()
		got := -1
		wait(t, e, "the connection has what was sent", func(c *conn) bool {
			if got = 0; c.in != nil {
				got, held, first = len(c.in.B), cap(c.in.B), &c.in.B[:1][0]
			}
			return got == bytes
		})
		return held, first
	}
	packet := make([]byte, size)
	sent := 0
	send := func(b []byte) {
		t.Helper()
		if _, err := peer.Write(b); err != nil {
			t.Fatal(err)
		}
		sent += len(b)
		look(sent % size)
	}
	for _, piece := range []int{1, 100, 5_000, 20_000, 40_000, 70_000, 200_000, 600_000} {
		send(packet)
		send(packet) // the second finds a buffer that is as large as the first
		moves, before := 0, (*byte)(nil)
		for range min(size/piece, 300) - 1 {
			send(packet[:piece])
			held, at := look(sent % size)
			if most := max(input.MaxFreeBytes, input.MaxWaste*(sent%size)); held > most {
				t.Fatalf("pieces of %d: %d bytes are held for %d", piece, held, sent%size)
			}
			if at != before {
				moves, before = moves+1, at
			}
		}
		if moves > 20 {
			t.Errorf("pieces of %d: %d times in another buffer", piece, moves)
		}
		send(packet[sent%size:])
	}
}

// giver is an engine.Shard that sends each connection a large body, in a buffer that is
// as large or a small part of a larger one.
type giver struct {
	opened
	pool bufpool.Pool
	size int
}

func (g *giver) Open(c engine.Conn) {
	buffer := g.pool.Get(g.size)
	c.SendShared([]byte{1}, buffer.Bytes()[:g.size-1], buffer)
	buffer.Release()
	c.Send(make([]byte, g.size), nil)
}

// TestHeldOutput proves that what a connection holds is near what is left to write, while
// the peer takes it little by little.
func TestHeldOutput(t *testing.T) {
	const size = 8 << 20 // more than the kernel takes of a peer that doesn't read
	e, err := New([]engine.Shard{&giver{size: size}}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := net.Dial("tcp", run(t, e))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := peer.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	const piece = 100_000
	seen := 0 // times that something was left
	for got := 0; got < 2*size; got += piece {
		left, held := 0, 0
		wait(t, e, "there is a connection", func(c *conn) bool {
			if left, held = c.Pending(), 0; c.out != nil {
				held = cap(c.out.b)
				for _, d := range c.out.bodies {
					held += len(d.buffer.Bytes())
				}
			}
			return true
		})
		if most := max(maxFreePending, input.MaxWaste*left); held > most {
			t.Fatalf("%d bytes are held for %d", held, left)
		}
		if left > 0 && left < size/2 {
			seen++
		}
		if _, err := io.CopyN(io.Discard, peer, min(piece, int64(2*size-got))); err != nil {
			t.Fatal(err)
		}
	}
	if seen == 0 {
		t.Fatal("the kernel took all but much at once")
	}
}

// wait returns when something is so for the only connection. It asks on the connection's
// thread.
func wait(t *testing.T, e *Engine, what string, so func(*conn) bool) {
	t.Helper()
	for end := time.Now().Add(guard); ; time.Sleep(time.Millisecond) {
		is, done := false, make(chan bool)
		e.Post(0, func() {
			e.slab.All(func(c *conn) { is = so(c) })
			close(done)
		})
		<-done
		if is {
			return
		}
		if time.Now().After(end) {
			t.Fatal("not so in time: " + what)
		}
	}
}
