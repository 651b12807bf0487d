package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"midge/internal/websocket"
)

// handshake dials, and speaks TLS and WebSocket as configured.
func (c *Config) handshake(ctx context.Context, d *net.Dialer) (net.Conn, error) {
	conn, err := d.DialContext(ctx, "tcp", c.Address.String())
	if err != nil {
		return nil, bare(err)
	}
	if c.TLS != nil {
		secure := tls.Client(conn, c.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS: %w", err), conn.Close())
		}
		conn = secure
	}
	if c.WebSocket == "" {
		return conn, nil
	}
	return websocket.Client(ctx, conn, c.WebSocket, "mqtt")
}

// bare takes the address off a network error, which the caller names anyway.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
