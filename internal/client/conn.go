package client

import (
	"bufio"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxPending is the number of bytes that wait for the network before
	// writers do.
	maxPending = 256 << 10

	// lastWords is how long Close waits for the network to take what is
	// written.
	lastWords = 2 * time.Second

	// maxFirst is how many bytes of a stranger an error shows.
	maxFirst = 64
)

// conn is a transport whose writes are gathered: what several goroutines write
// while the network is busy leaves in one piece. It is the lock by which Paho
// keeps the parts of a packet together.
type conn struct {
	net.Conn
	encrypted bool

	packet sync.Mutex // held while the parts of a packet are written

	mu      sync.Mutex
	changed sync.Cond // pending, err or closing changed
	pending []byte    // written, not yet given to the network
	sent    uint64    // bytes that the network has taken
	err     error     // of the network; ends all writing
	closing bool
	flushed chan struct{} // closed when flush has returned

	in    *bufio.Reader // the libraries read byte by byte
	begun bool          // the first byte is read; owned by the reader
}

func newConn(nc net.Conn, encrypted bool) *conn {
	c := &conn{Conn: nc, encrypted: encrypted, in: bufio.NewReaderSize(nc, 16<<10), flushed: make(chan struct{})}
	c.changed.L = &c.mu
	go c.flush()
	return c
}

// Lock begins a packet.
func (c *conn) Lock() { c.packet.Lock() }

// Unlock ends a packet.
func (c *conn) Unlock() { c.packet.Unlock() }

// Write returns when b is gathered, which of a large b is when most of it has
// left. It returns the error of an earlier write, too.
func (c *conn) Write(b []byte) (written int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.pending) >= maxPending && c.err == nil && !c.closing {
			c.changed.Wait()
		}
		switch {
		case c.err != nil:
			return written, c.err
		case c.closing:
			return written, net.ErrClosed
		}
		n := min(len(b), maxPending-len(c.pending))
		c.pending = append(c.pending, b[:n]...)
		written += n
		c.changed.Broadcast()
		if b = b[n:]; len(b) == 0 {
			return written, nil
		}
	}
}

// Sent is the number of bytes that the network has taken.
func (c *conn) Sent() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

// flush gives what is pending to the network, until Close or an error.
func (c *conn) flush() {
	defer close(c.flushed)
	var out []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.pending) == 0 && !c.closing {
			c.changed.Wait()
		}
		if len(c.pending) == 0 || c.err != nil {
			return
		}
		out, c.pending = c.pending, out[:0]
		c.changed.Broadcast()
		c.mu.Unlock()
		n, err := c.Conn.Write(out)
		c.mu.Lock()
		c.sent += uint64(n)
		if err != nil {
			c.err = err
			c.changed.Broadcast()
			return
		}
	}
}

// Read refuses what can't come from a broker, so that a stranger is noticed by
// its first byte.
func (c *conn) Read(b []byte) (int, error) {
	if !c.begun {
		first, err := c.in.Peek(1)
		if err != nil {
			return 0, err
		}
		if !answersMQTT(first[0]) {
			first, _ = c.in.Peek(min(c.in.Buffered(), maxFirst))
			return 0, &stranger{slices.Clone(first)}
		}
		c.begun = true
	}
	return c.in.Read(b)
}

// SetDeadline leaves writing alone, which happens behind the caller's back.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: a network that takes nothing is noticed by the
// Keep Alive.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close gives the network what is pending, for a while, and closes.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.changed.Broadcast()
	c.mu.Unlock()
	if first {
		defer time.AfterFunc(lastWords, func() { c.Conn.Close() }).Stop()
	}
	<-c.flushed
	return c.Conn.Close()
}
