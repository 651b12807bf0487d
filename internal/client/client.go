// Package client is an MQTT client for 3.1, 3.1.1 and 5.0 over TCP, TLS,
// WebSocket and Unix sockets, for the tools of the command line.
//
// It puts one face on two libraries, Eclipse Paho for 5.0 and for 3.x, which
// are independent of the broker's own codec. A Client is one connection: it
// never reconnects. Messages reach Options.Received in the order of the
// broker, and are acknowledged after it returned.
package client

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"midge/internal/packet"
)

// Options say where to connect, and as whom.
type Options struct {
	// Address is scheme://host[:port][/path]. Schemes are mqtt and tcp, mqtts,
	// ssl and tls, ws, wss, and unix, whose path is a file. The ports are 1883,
	// 8883, 80 and 443 if none is named; the path of a WebSocket is /mqtt.
	Address      string
	LocalAddress string // a local IP address to connect from, "" for any

	Version       packet.Version // 5.0 if 0
	ClientID      string
	Username      string
	HasUsername   bool // Username is sent even if it is empty
	Password      []byte
	HasPassword   bool
	CleanStart    bool   // Clean Session before 5.0
	SessionExpiry uint32 // seconds, 0xFFFFFFFF never; 5.0
	KeepAlive     time.Duration
	Will          *Will
	TLS           *tls.Config // for mqtts and wss; nil trusts what the system trusts

	// All that follows is 5.0.
	ReceiveMaximum             uint16 // 0 leaves it out
	MaximumPacketSize          uint32 // bytes; 0 leaves it out
	TopicAliasMaximum          uint16
	RequestResponseInformation bool
	WithoutProblemInformation  bool // asks the broker for no reason strings
	AuthenticationMethod       string
	AuthenticationData         []byte
	UserProperties             []UserProperty

	// Received takes each message, one at a time, in a goroutine of its own.
	// While it runs, later messages wait. It may publish, but not wait for
	// acknowledgements.
	Received func(Message)

	// Closed is called once if the connection ends, other than by Disconnect.
	Closed func(error)
}

// Client is a connection. Its methods may be called from several goroutines.
type Client struct {
	o         Options
	connected Connected
	protocol  protocol

	ends sync.Once
	done chan struct{} // closed when the connection has ended
	err  error         // why; set before done is closed
}

// protocol is what versions do in their own ways.
type protocol interface {
	// send writes a message and returns what its acknowledgement will settle.
	send(ctx context.Context, m Message) (*Receipt, error)
	subscribe(ctx context.Context, subs []Subscription, user []UserProperty) ([]packet.ReasonCode, error)
	unsubscribe(ctx context.Context, filters []string, user []UserProperty) ([]packet.ReasonCode, error)
	disconnect(d Disconnection) error
	close()
}

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
	c := &Client{o: o, done: make(chan struct{})}
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

// Connected returns what the broker said when it accepted the connection.
func (c *Client) Connected() Connected { return c.connected }

// Done is closed when the connection has ended, by whichever side.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended: nil if it has not, or was ended by
// Disconnect.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Send sends a message and returns when it is on its way, so that many can be
// under way at once. Messages leave in the order of the calls. It waits while
// the broker has as many unacknowledged ones as it allows.
func (c *Client) Send(ctx context.Context, m Message) (*Receipt, error) {
	r, err := c.protocol.send(ctx, m)
	if err != nil {
		return nil, c.failed("publish to", m.Topic, err)
	}
	r.client, r.topic = c, m.Topic
	return r, nil
}

// Publish sends a message and returns when the broker has acknowledged it. The
// error is a *Refused if the broker did so with a failure.
func (c *Client) Publish(ctx context.Context, m Message) (Published, error) {
	r, err := c.Send(ctx, m)
	if err != nil {
		return Published{}, err
	}
	return r.Wait(ctx)
}

// Subscribe returns the broker's answer to each subscription; failures among
// them are no error.
func (c *Client) Subscribe(ctx context.Context, subs []Subscription, user ...UserProperty) ([]packet.ReasonCode, error) {
	var all []packet.ReasonCode
	for len(subs) > 0 { // a packet has one subscription identifier
		n := 1
		for n < len(subs) && subs[n].ID == subs[0].ID {
			n++
		}
		codes, err := c.protocol.subscribe(ctx, subs[:n], user)
		if err != nil {
			return all, c.failed("subscribe to", subs[0].Filter, err)
		}
		all, subs = append(all, codes...), subs[n:]
	}
	return all, nil
}

// Unsubscribe returns the broker's answer to each topic filter. Before 5.0 the
// answers are all Success.
func (c *Client) Unsubscribe(ctx context.Context, filters []string, user ...UserProperty) ([]packet.ReasonCode, error) {
	codes, err := c.protocol.unsubscribe(ctx, filters, user)
	if err != nil {
		return nil, c.failed("unsubscribe from", filters[0], err)
	}
	return codes, nil
}

// Disconnect sends DISCONNECT, which before 5.0 has no content, and closes the
// connection.
func (c *Client) Disconnect(d Disconnection) error {
	if !c.end(nil) {
		return c.err
	}
	return c.protocol.disconnect(d)
}

// Close closes the connection without a DISCONNECT, so that the broker
// publishes the will.
func (c *Client) Close() {
	if c.end(nil) {
		c.protocol.close()
	}
}

// end records how the connection ended. It reports whether it was the first to
// do so.
func (c *Client) end(err error) (first bool) {
	c.ends.Do(func() {
		first = true
		c.err = err
		close(c.done)
	})
	return first
}

// lost is end for what the network or the broker did.
func (c *Client) lost(err error) {
	if c.end(err) && c.o.Closed != nil {
		c.o.Closed(err)
	}
}
