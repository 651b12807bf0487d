package gonet

import (
	"errors"
	"io"
	"os"
	"time"

	"midge/internal/engine"
)

// read reads until the connection ends. It has at most one chunk outstanding:
// the shard answers when it has used or buffered it, and not while it pauses.
func (c *conn) read(size int) {
	buf := make([]byte, size)
	emptying, received := false, 0
	for {
		if c.isGone() { // before hangUp sets its deadline, so that it counts
			c.discard(buf)
			return
		}
		if c.exhaust.Swap(false) {
			emptying, received = true, 0
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
		if received += n; emptying && (err == errNothing || received >= engine.MaxExhausted) {
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
			c.post(func() { c.inputEnded(err) })
		}
		return
	}
}

// isGone reports whether the connection has ended for the shard.
func (c *conn) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// inputEnded ends c after its input has ended.
func (c *conn) inputEnded(err error) {
	if c.closing { // meanwhile
		c.stopListening()
		return
	}
	c.end(err)
}

// discard reads what the peer still sends after the end: a socket that is
// closed with unread input is reset, and the peer could lose the last packet it
// was sent. What a peer sends on and on is not read for long.
func (c *conn) discard(buf []byte) {
	c.net.SetReadDeadline(time.Now().Add(lingerTime))
	for range maxDiscards {
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

// exhausted calls those who asked: what had arrived was offered. If somebody
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
