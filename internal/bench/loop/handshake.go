package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// handshake dials, and speaks TLS and WebSocket as configured.
func (c *Config) handshake(ctx context.Context, d *net.Dialer) (net.Conn, error) {
	if c.WebSocket != "" {
		return c.websocket(ctx, d)
	}
	conn, err := d.DialContext(ctx, "tcp", c.Address.String())
	if err != nil || c.TLS == nil {
		return conn, bare(err)
	}
	secure := tls.Client(conn, c.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), conn.Close())
	}
	return secure, nil
}

// bare takes the address off a network error, which the caller names anyway.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

func (c *Config) websocket(ctx context.Context, d *net.Dialer) (net.Conn, error) {
	dialer := websocket.Dialer{
		Subprotocols:    []string{"mqtt"}, // MQTT-6.0.0-3
		TLSClientConfig: c.TLS,
		ReadBufferSize:  linkRead,
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := d.DialContext(ctx, "tcp", c.Address.String())
			return conn, bare(err)
		},
	}
	ws, response, err := dialer.DialContext(ctx, c.WebSocket, nil)
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("WebSocket %s: %w: %s", c.WebSocket, err, response.Status)
		}
		return nil, fmt.Errorf("WebSocket %s: %w", c.WebSocket, err)
	}
	return &frames{Conn: ws}, nil
}

// frames makes a net.Conn of a WebSocket. MQTT packets need not be aligned to
// frames (MQTT-6.0.0-2).
type frames struct {
	*websocket.Conn
	reader io.Reader // of the current message; nil between two
}

// Read reads from the message at hand, or waits for the next.
func (f *frames) Read(b []byte) (int, error) {
	for {
		if f.reader == nil {
			kind, r, err := f.NextReader()
			if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway) {
				err = io.EOF
			}
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("WebSocket: a text frame") // MQTT-6.0.0-1
			}
			f.reader = r
		}
		n, err := f.reader.Read(b)
		if errors.Is(err, io.EOF) {
			f.reader, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes b as one binary message.
func (f *frames) Write(b []byte) (int, error) {
	if err := f.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetDeadline sets both deadlines.
func (f *frames) SetDeadline(t time.Time) error {
	return errors.Join(f.SetReadDeadline(t), f.SetWriteDeadline(t))
}
