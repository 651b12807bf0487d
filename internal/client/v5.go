package client

import (
	"context"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"midge/internal/packet"
)

// unlimited is a limit of Paho that contexts replace.
const unlimited = 365 * 24 * time.Hour

// v5 is a connection of MQTT 5.0.
type v5 struct {
	client *paho.Client
	state  answers
	turn   chan struct{} // holds a token while nobody sends
}

// answers is Paho's session state, except that the sender of a PUBLISH says
// where its answer goes. Paho's own asynchronous sending keeps it to itself.
type answers struct {
	session.SessionManager
	next chan packets.ControlPacket // for the next PUBLISH; guarded by v5.turn
}

func (a *answers) AddToSession(ctx context.Context, p session.Packet, answer chan<- packets.ControlPacket) error {
	if p.Type() == packets.PUBLISH {
		answer = a.next
	}
	return a.SessionManager.AddToSession(ctx, p, answer)
}

// Ack does nothing: deliver has acknowledged the message, or has decided not to.
func (a *answers) Ack(*packets.Publish) error { return nil }

// Session is what a client of 5.0 remembers between connections: the messages
// of QoS 2 that it has received, so that it receives none twice.
type Session struct{ state *state.State }

// NewSession returns the memory of a client that has not connected yet.
func NewSession() *Session { return &Session{state.NewInMemory()} }

func (c *Client) connect5(ctx context.Context, conn *conn) error {
	p := &v5{turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	if c.o.Session == nil {
		c.o.Session = NewSession()
	}
	p.state.SessionManager = c.o.Session.state
	request := connectPacket(&c.o)
	auth := authenticate(&c.o, request, func() { conn.Close() })
	p.client = paho.NewClient(paho.ClientConfig{
		Conn:          conn,
		Session:       &p.state,
		PacketTimeout: unlimited,
		AuthHandler:   auth,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(r paho.PublishReceived) (bool, error) {
				c.deliver(message5(r.Packet), func() { _ = c.o.Session.state.Ack(r.Packet.Packet()) }) // an error ends the connection anyway
				return true, nil
			},
		},
		OnServerDisconnect: func(d *paho.Disconnect) {
			c.lost(&Refused{Reason: packet.ReasonCode(d.ReasonCode), Text: d.Properties.ReasonString})
		},
		OnClientError: func(err error) { c.lost(reword(err)) },
	})
	ack, err := p.client.Connect(ctx, request)
	if ack != nil && ack.ReasonCode >= 0x80 {
		return &Refused{Reason: packet.ReasonCode(ack.ReasonCode), Text: ack.Properties.ReasonString}
	}
	select {
	case wrong := <-auth.wrong:
		return wrong
	default:
	}
	switch {
	case err == nil:
		err = auth.verify(ack)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	c.protocol, c.connected = p, connected5(&c.o, ack)
	return nil
}

func (p *v5) send(ctx context.Context, m Message) (*Receipt, error) {
	select { // a turn each: the order of sending is the order of the calls
	case <-p.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	answer := make(chan packets.ControlPacket, 1)
	p.state.next = answer
	_, err := p.client.PublishWithOptions(ctx, publishPacket(m), paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil {
		return nil, err
	}
	if m.QoS == 0 {
		return &Receipt{}, nil
	}
	return &Receipt{wait: func(ctx context.Context, end <-chan struct{}) (Published, error) {
		a, err := await(ctx, answer, end)
		if err != nil {
			return Published{}, err
		}
		return published5(a)
	}}, nil
}

func published5(a packets.ControlPacket) (Published, error) {
	switch ack := a.Content.(type) {
	case *packets.Puback:
		return publishedWith(ack.ReasonCode, ack.Properties), nil
	case *packets.Pubrec: // ends the exchange only if it is a failure
		return publishedWith(ack.ReasonCode, ack.Properties), nil
	case *packets.Pubcomp:
		return publishedWith(ack.ReasonCode, ack.Properties), nil
	}
	return Published{}, errEnded
}

func publishedWith(reason byte, p *packets.Properties) Published {
	return Published{packet.ReasonCode(reason), p.ReasonString, fromUser(paho.UserPropertiesFromPacketUser(p.User))}
}

func (p *v5) subscribe(ctx context.Context, subs []Subscription, user []UserProperty) ([]packet.ReasonCode, error) {
	request := &paho.Subscribe{Properties: &paho.SubscribeProperties{User: toUser(user)}}
	if id := int(subs[0].ID); id != 0 {
		request.Properties.SubscriptionIdentifier = &id
	}
	for _, s := range subs {
		request.Subscriptions = append(request.Subscriptions, paho.SubscribeOptions{
			Topic: s.Filter, QoS: byte(s.QoS), NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling,
		})
	}
	ack, err := p.client.Subscribe(ctx, request)
	if ack == nil {
		return nil, err
	}
	return reasons(ack.Reasons), nil
}

func (p *v5) unsubscribe(ctx context.Context, filters []string, user []UserProperty) ([]packet.ReasonCode, error) {
	ack, err := p.client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: filters, Properties: &paho.UnsubscribeProperties{User: toUser(user)}})
	if ack == nil {
		return nil, err
	}
	return reasons(ack.Reasons), nil
}

func (p *v5) disconnect(d Disconnection) error {
	return p.client.Disconnect(&paho.Disconnect{ReasonCode: byte(d.Reason), Properties: &paho.DisconnectProperties{
		ReasonString: d.ReasonString, SessionExpiryInterval: d.SessionExpiry, User: toUser(d.UserProperties),
	}})
}

func (p *v5) close() {
	p.client.TerminateConnectionForTest()
	<-p.client.Done()
}

func reasons(codes []byte) []packet.ReasonCode {
	all := make([]packet.ReasonCode, len(codes))
	for i, c := range codes {
		all[i] = packet.ReasonCode(c)
	}
	return all
}
