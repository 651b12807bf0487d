package client

import (
	"bufio"
	"net"
	"slices"
	"sync"
	"time"

	"midge/internal/packet"
)

const (
	// maxPending is the number of bytes that wait for the network before
	// writers do.
	maxPending = 256 << 10

	// lastWords is how long Close waits for the network to take what is
	// written.
	lastWords = 2 * time.Second

	// farewell is how long Close waits for the broker to close.
	farewell = 200 * time.Millisecond

	// maxFirst is how many bytes of a stranger an error shows.
	maxFirst = 64
)

// conn is a transport whose writes are gathered: what several goroutines write
// while the network is busy leaves in one piece. It is the lock by which Paho
// keeps the parts of a packet together.
type conn struct {
	net.Conn
	encrypted bool

	parts sync.Mutex // held while the parts of a packet are written

	mu      sync.Mutex
	changed sync.Cond // pending, err or closing changed
	pending []byte    // written, not yet given to the network
	sent    uint64    // bytes that the network has taken
	err     error     // of the network; ends all writing
	closing bool
	polite  bool          // wait for the broker to close first
	flushed chan struct{} // closed when flush has returned

	in    *bufio.Reader // the libraries read byte by byte
	begun bool          // the first byte is read; owned by the reader
	ended chan struct{} // closed when reading has failed
	end   sync.Once
}

func newConn(nc net.Conn, encrypted bool) *conn {
	c := &conn{Conn: nc, encrypted: encrypted, in: bufio.NewReaderSize(nc, 16<<10), flushed: make(chan struct{}), ended: make(chan struct{})}
	c.changed.L = &c.mu
	go c.flush()
	return c
}

// Lock begins a packet.
func (c *conn) Lock() { c.parts.Lock() }

// Unlock ends a packet.
func (c *conn) Unlock() { c.parts.Unlock() }

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
		if err := c.begin(); err != nil {
			return 0, err
		}
		c.begun = true
	}
	n, err := c.in.Read(b)
	if err != nil {
		c.end.Do(func() { close(c.ended) })
	}
	return n, err
}

// begin looks at the first packet. A CONNACK of 3.x with a failure is an error
// here: Paho knows some of its codes only, and none in an answer to a CONNECT
// of 5.0.
func (c *conn) begin() error {
	const connack, size3 = byte(packet.CONNACK) << 4, 4
	first, err := c.in.Peek(1)
	if err != nil {
		return err
	}
	if !answersMQTT(first[0]) {
		first, _ = c.in.Peek(min(c.in.Buffered(), maxFirst))
		return &stranger{slices.Clone(first)}
	}
	if first, err = c.in.Peek(2); err != nil || first[0] != connack || first[1] != size3-2 {
		return err
	}
	if first, err = c.in.Peek(size3); err == nil && first[3] != 0 {
		err = &Refused{Reason: refusal3(first[3])}
	}
	return err
}

// SetDeadline leaves writing alone, which happens behind the caller's back.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: a network that takes nothing is noticed by the
// Keep Alive.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// leave makes Close wait for the broker to close first, as it does when it has
// taken DISCONNECT and all that is before it. A client that comes back at once
// could overtake that.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.polite = true
}

// Close gives the network what is pending, for a while, and closes.
func (c *conn) Close() error {
	c.mu.Lock()
	first, polite := !c.closing, c.polite
	c.closing = true
	c.changed.Broadcast()
	c.mu.Unlock()
	if first {
		defer time.AfterFunc(lastWords, func() { c.Conn.Close() }).Stop()
	}
	<-c.flushed
	if first && polite {
		select {
		case <-c.ended:
		case <-time.After(farewell):
		}
	}
	return c.Conn.Close()
}

// refusal3 is the reason code for a return code of a CONNACK of 3.x.
func refusal3(code byte) packet.ReasonCode {
	switch code {
	case 1:
		return packet.UnsupportedProtocolVersion
	case 2:
		return packet.ClientIdentifierNotValid
	case 3:
		return packet.ServerUnavailable
	case 4:
		return packet.BadUserNameOrPassword
	case 5:
		return packet.NotAuthorized
	}
	return packet.UnspecifiedError
}
