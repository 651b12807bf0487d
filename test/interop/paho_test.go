//go:build integration && unix

package interop

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"midge/internal/websocket"
)

// goClient is what both Go clients have in common: a connection that the test
// can end, and a place for messages.
type goClient struct {
	conn      net.Conn
	messages  chan message
	isPresent bool
}

// dialBroker opens the connection of a client; a WebSocket is ours, since the clients know
// nothing of what their connection is.
func dialBroker(t *testing.T, o options) goClient {
	t.Helper()
	conn, err := net.DialTimeout("tcp", o.Addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if o.Scheme == "tls" || o.Scheme == "wss" {
		conn = tls.Client(conn, tlsConfig(t))
	}
	if o.Scheme == "ws" || o.Scheme == "wss" {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ws, err := websocket.Client(ctx, conn, o.Scheme+"://"+o.Addr+"/mqtt", "mqtt")
		if err != nil {
			t.Fatal(err)
		}
		conn = &oneByOne{Conn: ws}
	}
	return goClient{conn: conn, messages: make(chan message, 100)}
}

// oneByOne is a connection that goroutines write at the same time.
type oneByOne struct {
	net.Conn
	mu sync.Mutex
}

func (c *oneByOne) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *goClient) received() <-chan message { return c.messages }
func (c *goClient) present() bool            { return c.isPresent }
func (c *goClient) drop(*testing.T)          { c.conn.Close() }

// paho3Client is github.com/eclipse/paho.mqtt.golang.
type paho3Client struct {
	goClient
	mqtt paho3.Client
}

func connectPaho3(t *testing.T, o options) client {
	t.Helper()
	c := &paho3Client{goClient: dialBroker(t, o)}
	p := paho3.NewClientOptions().AddBroker("tcp://" + o.Addr).SetClientID(o.ID).SetCleanSession(o.Clean).
		SetProtocolVersion(uint(o.Version)).SetAutoReconnect(false).SetConnectTimeout(patience).
		SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) { return c.conn, nil }).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) {
			c.messages <- message{m.Topic(), string(m.Payload()), m.Qos(), m.Retained()}
		})
	if w := o.Will; w != nil {
		p.SetWill(w.Topic, w.Payload, w.QoS, w.Retain)
	}
	c.mqtt = paho3.NewClient(p)
	token := c.mqtt.Connect().(*paho3.ConnectToken)
	finish(t, "connect", token)
	c.isPresent = token.SessionPresent()
	return c
}

func finish(t *testing.T, what string, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatalf("%s: nothing within %v", what, patience)
	}
	if err := token.Error(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (c *paho3Client) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	finish(t, "subscribe", c.mqtt.Subscribe(filter, qos, nil))
}

func (c *paho3Client) publish(t *testing.T, m message) {
	t.Helper()
	finish(t, "publish", c.mqtt.Publish(m.Topic, m.QoS, m.Retain, m.Payload))
}

func (c *paho3Client) close(*testing.T) { c.mqtt.Disconnect(1000) }

// paho5Client is github.com/eclipse/paho.golang.
type paho5Client struct {
	goClient
	mqtt *paho5.Client
}

func connectPaho5(t *testing.T, o options) client {
	t.Helper()
	c := &paho5Client{goClient: dialBroker(t, o)}
	c.mqtt = paho5.NewClient(paho5.ClientConfig{
		Conn: c.conn,
		OnPublishReceived: []func(paho5.PublishReceived) (bool, error){func(r paho5.PublishReceived) (bool, error) {
			c.messages <- message{r.Packet.Topic, string(r.Packet.Payload), r.Packet.QoS, r.Packet.Retain}
			return true, nil
		}},
	})
	connect := &paho5.Connect{ClientID: o.ID, CleanStart: o.Clean, KeepAlive: 60, Properties: &paho5.ConnectProperties{}}
	if !o.Clean {
		expiry := uint32(600)
		connect.Properties.SessionExpiryInterval = &expiry
	}
	if w := o.Will; w != nil {
		connect.WillMessage = &paho5.WillMessage{Topic: w.Topic, Payload: []byte(w.Payload), QoS: w.QoS, Retain: w.Retain}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	connack, err := c.mqtt.Connect(ctx, connect)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	c.isPresent = connack.SessionPresent
	return c
}

func (c *paho5Client) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.mqtt.Subscribe(ctx, &paho5.Subscribe{
		Subscriptions: []paho5.SubscribeOptions{{Topic: filter, QoS: qos}},
	}); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
}

func (c *paho5Client) publish(t *testing.T, m message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.mqtt.Publish(ctx, &paho5.Publish{
		Topic: m.Topic, Payload: []byte(m.Payload), QoS: m.QoS, Retain: m.Retain,
	}); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func (c *paho5Client) close(t *testing.T) {
	t.Helper()
	if err := c.mqtt.Disconnect(&paho5.Disconnect{}); err != nil {
		t.Fatalf("disconnect: %v", err)
	}
	select {
	case <-c.mqtt.Done():
	case <-time.After(patience):
		t.Fatalf("the client has not ended within %v", patience)
	}
}
