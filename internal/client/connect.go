package client

import (
	"context"

	"midge/internal/packet"
)

// Connect opens a connection and returns when the broker has accepted it. The
// error names the address; errors.As finds the *Refused of a broker that
// answered with a reason.
func Connect(ctx context.Context, o Options) (*Client, error) {
	if o.Version == 0 {
		o.Version = packet.V5
	}
	if o.Received == nil {
		o.Received = func(Message) {}
	}
	conn, err := dial(ctx, &o)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, conn: conn, done: make(chan struct{}), delivery: make(chan struct{}, 1)}
	c.delivery <- struct{}{}
	if o.Version == packet.V5 {
		err = c.connect5(ctx, conn)
	} else {
		err = c.connect3(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, conn.explain(&o, err)
	}
	return c, nil
}
