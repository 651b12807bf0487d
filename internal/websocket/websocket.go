// Package websocket carries a stream of MQTT packets in the binary messages of
// a WebSocket (RFC 6455, MQTT 5.0 section 6).
//
// It knows neither MQTT nor TLS: Client takes a connection that is open, and
// secured where that is wanted. A Conn may be read by one goroutine and written
// by another.
package websocket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// goodbye is how long Close waits for the network to take the last frame.
const goodbye = 2 * time.Second

// Conn is a WebSocket as a stream: packets may begin and end anywhere in its
// messages [MQTT-6.0.0-2].
type Conn struct {
	*websocket.Conn
	message io.Reader // what is being read, nil between two messages
}

// New makes a stream of a WebSocket.
func New(ws *websocket.Conn) *Conn { return &Conn{Conn: ws} }

// Client asks the server at the other end of nc for a WebSocket at address, a
// URL of ws or wss, with a subprotocol [MQTT-6.0.0-3]. It closes nc if it fails.
func Client(ctx context.Context, nc net.Conn, address, subprotocol string) (*Conn, error) {
	open := func(context.Context, string, string) (net.Conn, error) { return nc, nil }
	dialer := websocket.Dialer{NetDialContext: open, NetDialTLSContext: open, Subprotocols: []string{subprotocol}}
	stop := context.AfterFunc(ctx, func() { nc.Close() }) // the dialer heeds its deadline alone
	ws, answer, err := dialer.DialContext(ctx, address, nil)
	if stop() && err == nil {
		return New(ws), nil
	}
	nc.Close()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case answer != nil:
		return nil, fmt.Errorf("no WebSocket at %s: it answered %d %s", path(address), answer.StatusCode, http.StatusText(answer.StatusCode))
	case ended(err):
		return nil, errors.New("closed without an answer to the WebSocket request")
	}
	return nil, fmt.Errorf("ask for a WebSocket at %s: %w", path(address), err)
}

// path is that of a URL.
func path(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Path
	}
	return address
}

// ended reports whether an error means that the peer has closed the connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Read reads from the message at hand, or waits for the next. A connection that
// the peer has closed ends with io.EOF.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		if c.message == nil {
			kind, r, err := c.NextReader()
			if err != nil {
				if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure) {
					err = io.EOF
				}
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("the broker sent a text frame, not a binary one [MQTT-6.0.0-1]")
			}
			c.message = r
		}
		n, err := c.message.Read(b)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes b as one binary message.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetDeadline sets the deadlines of reading and writing.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close says goodbye and closes.
func (c *Conn) Close() error {
	last := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.WriteControl(websocket.CloseMessage, last, time.Now().Add(goodbye)) // the other side may be gone
	return c.Conn.Close()
}
