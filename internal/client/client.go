// Package client is an MQTT client for 3.1, 3.1.1 and 5.0 over TCP, TLS,
// WebSocket and Unix sockets, for the tools of the command line.
//
// It puts one face on two libraries, Eclipse Paho for 5.0 and for 3.x, which
// are independent of the broker's own codec. A Client is one connection: it
// never reconnects. Messages reach Options.Received in the order of the
// broker, and are acknowledged after it returned.
//
// Files, from the bottom up: fault.go, conn.go, dial.go, message.go, client.go,
// v5packet.go, authentication.go, v5.go, v3.go, connect.go.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"midge/internal/packet"
)

// Options say where to connect, and as whom.
type Options struct {
	// Address is scheme://host[:port][/path]. Schemes are mqtt and tcp, mqtts,
	// ssl and tls, ws, wss, and unix, whose path is a file. The ports are 1883,
	// 8883, 80 and 443 if none is named; the path of a WebSocket is /mqtt.
	Address      string
	LocalAddress string // a local IP address to connect from, "" for any

	// Proxy is the SOCKS5 proxy to connect through, "" for none:
	// socks5h://[user[:password]@]host[:port], at port 1080 if none is named. It
	// looks up the host.
	Proxy string

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
	WithoutProblemInformation  bool   // asks the broker for no reason strings
	AuthenticationMethod       string // SCRAM-SHA-256 and OAUTH2-JWT go by Username and Password, others by:
	AuthenticationData         []byte // if it is nil
	UserProperties             []UserProperty

	// Session keeps what a client must remember between connections; nil for
	// one that does not come back.
	Session *Session

	// Received takes each message, one at a time, in a goroutine of its own,
	// perhaps before Connect returns. While it runs, later messages wait. It
	// must not call methods of the client that wait, such as Disconnect.
	Received func(Message)

	// Enough, if it is there, is asked before each message. Once it returns
	// true, messages are neither handed to Received nor acknowledged, so that
	// the broker keeps them for the session's next connection.
	Enough func() bool

	// Closed is called once if the connection ends, other than by Disconnect.
	Closed func(error)
}

// Client is a connection. Its methods may be called from several goroutines.
type Client struct {
	o         Options
	conn      *conn
	connected Connected
	protocol  protocol

	delivery chan struct{} // holds a token while no message is delivered
	silent   atomic.Bool   // nothing is delivered or acknowledged any more

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
	const leastOverhead = 5 // the first byte, the Remaining Length, the length of the topic, the properties
	if maximum := c.connected.MaximumPacketSize; maximum > 0 && uint64(len(m.Topic))+uint64(len(m.Payload))+leastOverhead > uint64(maximum) {
		text := fmt.Sprintf("the broker takes packets of up to %d bytes", maximum)
		return nil, c.failed("publish to", m.Topic, &Refused{Reason: packet.PacketTooLarge, Text: text})
	}
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
// connection once the broker has, or soon after. A message that is being
// received is acknowledged before, and those behind it are not.
func (c *Client) Disconnect(d Disconnection) error {
	if !c.end(nil) {
		return c.err
	}
	select {
	case <-c.delivery:
		c.silent.Store(true)
		c.delivery <- struct{}{}
	case <-time.After(lastWords):
		c.silent.Store(true)
	}
	c.conn.leave()
	return c.protocol.disconnect(d)
}

// deliver hands a message over and acknowledges it.
func (c *Client) deliver(m Message, acknowledge func()) {
	<-c.delivery
	defer func() { c.delivery <- struct{}{} }()
	if c.silent.Load() || c.o.Enough != nil && c.o.Enough() {
		return
	}
	c.o.Received(m)
	if !c.silent.Load() {
		acknowledge()
	}
}

// Sent is the number of bytes that the network has taken, for showing progress.
func (c *Client) Sent() uint64 { return c.conn.Sent() }

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

// failed names what could not be done, and why the connection ended if that is
// the cause. The libraries fail what is under way before they tell why.
func (c *Client) failed(operation, object string, err error) error {
	if errors.Is(err, errEnded) || errors.Is(err, paho.ErrConnectionLost) || errors.Is(err, session.ErrNoConnection) || errors.Is(err, mqtt.ErrNotConnected) {
		err = errEnded
		select {
		case <-c.done:
		case <-time.After(lastWords):
		}
	}
	if cause := c.Err(); cause != nil && !errors.Is(err, context.Canceled) {
		err = cause
	}
	return fmt.Errorf("%s %s: %w", operation, object, err)
}
