package client

import (
	"context"
	"math"
	"net"
	"net/url"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"midge/internal/packet"
)

// v3 is a connection of MQTT 3.1 or 3.1.1.
type v3 struct {
	client mqtt.Client
	conn   *conn
	turn   chan struct{} // holds a token while nobody sends
}

func (c *Client) connect3(ctx context.Context, conn *conn) error {
	p := &v3{client: mqtt.NewClient(c.options3(conn)), conn: conn, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	token := p.client.Connect().(*mqtt.ConnectToken)
	<-token.Done()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case token.Error() != nil:
		return token.Error()
	}
	c.protocol = p
	c.connected = Connected{
		SessionPresent: token.SessionPresent(), ClientID: c.o.ClientID, KeepAlive: seconds(c.o.KeepAlive), ReceiveMaximum: math.MaxUint16,
		MaximumQoS: 2, RetainAvailable: true, WildcardsAvailable: true,
	}
	if !c.o.CleanStart {
		c.connected.SessionExpiry = math.MaxUint32 // a session of 3.x has no end
	}
	return nil
}

func (c *Client) options3(conn *conn) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions()
	o.AddBroker("mqtt://broker") // Paho wants one, and never dials it
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil })
	o.SetProtocolVersion(uint(c.o.Version))
	o.SetClientID(c.o.ClientID)
	o.SetUsername(c.o.Username)
	o.SetPassword(string(c.o.Password))
	o.SetCleanSession(c.o.CleanStart)
	o.SetKeepAlive(c.o.KeepAlive)
	o.SetConnectTimeout(unlimited)
	o.SetWriteTimeout(unlimited)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetOrderMatters(true)
	o.SetAutoAckDisabled(true) // deliver acknowledges
	if w := c.o.Will; w != nil {
		o.SetBinaryWill(w.Topic, w.Payload, byte(w.QoS), w.Retain)
	}
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		c.deliver(Message{
			Topic: m.Topic(), Payload: m.Payload(), QoS: packet.QoS(m.Qos()), Retain: m.Retained(), Dup: m.Duplicate(), PacketID: packet.ID(m.MessageID()),
		}, m.Ack)
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lost(reword(err)) })
	return o
}

func (p *v3) send(ctx context.Context, m Message) (*Receipt, error) {
	select { // a turn each: the order of sending is the order of the calls
	case <-p.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	token := p.client.Publish(m.Topic, byte(m.QoS), m.Retain, m.Payload)
	select {
	case <-token.Done():
		if token.Error() != nil {
			return nil, token.Error()
		}
	default:
	}
	if m.QoS == 0 {
		return &Receipt{}, nil
	}
	return &Receipt{wait: func(ctx context.Context, end <-chan struct{}) (Published, error) {
		if _, err := await(ctx, token.Done(), end); err != nil {
			return Published{}, err
		}
		if token.Error() != nil {
			return Published{}, errEnded
		}
		return Published{}, nil
	}}, nil
}

// subscribe sends a SUBSCRIBE for each topic filter: Paho takes several only
// without an order.
func (p *v3) subscribe(ctx context.Context, subs []Subscription, _ []UserProperty) ([]packet.ReasonCode, error) {
	var tokens []*mqtt.SubscribeToken
	for _, s := range subs {
		tokens = append(tokens, p.client.Subscribe(s.Filter, byte(s.QoS), nil).(*mqtt.SubscribeToken))
	}
	var all []packet.ReasonCode
	for i, t := range tokens {
		select {
		case <-t.Done():
		case <-ctx.Done():
			return all, ctx.Err()
		}
		code, answered := t.Result()[subs[i].Filter]
		if !answered {
			return all, errEnded
		}
		all = append(all, packet.ReasonCode(code))
	}
	return all, nil
}

func (p *v3) unsubscribe(ctx context.Context, filters []string, _ []UserProperty) ([]packet.ReasonCode, error) {
	token := p.client.Unsubscribe(filters...)
	select {
	case <-token.Done():
		if token.Error() != nil {
			return nil, errEnded
		}
		return make([]packet.ReasonCode, len(filters)), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *v3) disconnect(Disconnection) error {
	p.client.Disconnect(uint(lastWords.Milliseconds()))
	return nil
}

func (p *v3) close() {
	p.conn.Close()
	p.client.Disconnect(0)
}
