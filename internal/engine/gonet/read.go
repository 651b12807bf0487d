package gonet

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"midge/internal/engine"
)

// errNothing says that nothing has arrived that was not read.
var errNothing = errors.New("nothing to read now")

// read reads until the connection ends. It has at most one chunk outstanding:
// the shard answers when it has used or kept it, and not while it pauses.
func (c *conn) read(size int) {
	buf := make([]byte, size)
	emptying, taken := false, 0
	for {
		if c.isGone() { // before hangUp sets its deadline, so that it counts
			c.discard(buf)
			return
		}
		if c.exhaust.Swap(false) {
			emptying, taken = true, 0
		}
		next := c.net.Read
		if emptying {
			next = func(b []byte) (int, error) { return readNow(c.net, b) }
		}
		n, err := next(buf)
		if n > 0 {
			c.input = buf[:n]
			c.post(c.receive)
			select {
			case <-c.answer:
			case <-c.gone:
				c.discard(buf)
				return
			}
		}
		if taken += n; emptying && (err == errNothing || taken >= engine.MostExhausted) {
			emptying = false
			c.post(c.exhausted)
		}
		switch {
		case err == nil, err == errNothing:
			continue
		case c.isGone():
			c.discard(buf)
		case errors.Is(err, os.ErrDeadlineExceeded): // it woke us for Exhaust
			c.net.SetReadDeadline(time.Time{})
			continue
		default:
			c.post(func() { c.lost(err) })
		}
		return
	}
}

// isGone tells whether the connection has ended for the shard.
func (c *conn) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// lost ends c after its input has ended.
func (c *conn) lost(err error) {
	if c.closing { // meanwhile
		c.stopListening()
		return
	}
	c.end(err)
}

// discard reads what the peer still sends after the end: a socket that is
// closed with unread input is reset, and the peer could lose the last packet it
// was sent. A peer that sends on and on is not listened to for long.
func (c *conn) discard(buf []byte) {
	c.net.SetReadDeadline(time.Now().Add(lingerTime))
	for range mostDiscards {
		if _, err := c.net.Read(buf); err == io.EOF {
			c.stopListening()
			return
		} else if err != nil { // also that lingerTime is over
			c.release()
			return
		}
	}
	select {
	case <-time.After(lingerTime):
	case <-c.server.hurry:
	}
	c.stopListening()
}

// Exhaust implements engine.Conn. A deadline that is over wakes the reader.
func (c *conn) Exhaust(then func()) {
	if c.closing {
		c.post(then)
		return
	}
	c.then = append(c.then, then)
	c.exhaust.Store(true)
	c.net.SetReadDeadline(time.Unix(1, 0))
}

// exhausted tells those who asked that what had arrived was offered. If somebody
// has asked since the reader looked, it will look again.
func (c *conn) exhausted() {
	if c.exhaust.Load() && !c.closing {
		return
	}
	list := c.then
	c.then = nil
	for _, then := range list {
		then()
	}
}

// readSoon is readNow for connections that can't tell what has arrived, such as
// those of TLS.
func readSoon(nc net.Conn, b []byte) (int, error) {
	nc.SetReadDeadline(time.Now().Add(soon))
	n, err := nc.Read(b)
	nc.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNothing
	}
	return n, err
}

// soon is enough for bytes that have arrived. Guess.
const soon = 20 * time.Millisecond
