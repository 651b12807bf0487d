package client

import (
	"math"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"midge/internal/packet"
)

// connectPacket is the CONNECT that the options ask for.
func connectPacket(o *Options) *paho.Connect {
	c := &paho.Connect{
		ClientID: o.ClientID, CleanStart: o.CleanStart, KeepAlive: seconds(o.KeepAlive),
		Username: o.Username, UsernameFlag: o.HasUsername || o.Username != "",
		Password: o.Password, PasswordFlag: o.HasPassword || len(o.Password) > 0,
		Properties: &paho.ConnectProperties{
			SessionExpiryInterval: some(o.SessionExpiry),
			ReceiveMaximum:        some(o.ReceiveMaximum),
			MaximumPacketSize:     some(o.MaximumPacketSize),
			TopicAliasMaximum:     some(o.TopicAliasMaximum),
			RequestProblemInfo:    !o.WithoutProblemInformation,
			RequestResponseInfo:   o.RequestResponseInformation,
			AuthMethod:            o.AuthenticationMethod,
			AuthData:              o.AuthenticationData,
			User:                  toUser(o.UserProperties),
		},
	}
	if w := o.Will; w != nil {
		c.WillMessage = &paho.WillMessage{Retain: w.Retain, QoS: byte(w.QoS), Topic: w.Topic, Payload: w.Payload}
		c.WillProperties = &paho.WillProperties{
			WillDelayInterval: some(w.Delay),
			PayloadFormat:     w.PayloadFormat,
			MessageExpiry:     w.Expiry,
			ContentType:       w.ContentType,
			ResponseTopic:     w.ResponseTopic,
			CorrelationData:   w.CorrelationData,
			User:              toUser(w.UserProperties),
		}
	}
	return c
}

// connected5 fills in what a CONNACK leaves to the defaults of the standard.
func connected5(o *Options, ack *paho.Connack) Connected {
	p := ack.Properties
	c := Connected{
		SessionPresent:      ack.SessionPresent,
		ClientID:            o.ClientID,
		AssignedID:          p.AssignedClientID,
		KeepAlive:           value(p.ServerKeepAlive, seconds(o.KeepAlive)),
		SessionExpiry:       value(p.SessionExpiryInterval, o.SessionExpiry),
		ReceiveMaximum:      value(p.ReceiveMaximum, math.MaxUint16),
		MaximumQoS:          packet.QoS(value(p.MaximumQoS, 2)),
		MaximumPacketSize:   value(p.MaximumPacketSize, 0),
		TopicAliasMaximum:   value(p.TopicAliasMaximum, 0),
		RetainAvailable:     p.RetainAvailable,
		WildcardsAvailable:  p.WildcardSubAvailable,
		IDsAvailable:        p.SubIDAvailable,
		SharedAvailable:     p.SharedSubAvailable,
		ResponseInformation: p.ResponseInfo,
		ServerReference:     p.ServerReference,
		ReasonString:        p.ReasonString,
		UserProperties:      fromUser(p.User),
	}
	if c.AssignedID != "" {
		c.ClientID = c.AssignedID
	}
	return c
}

func publishPacket(m Message) *paho.Publish {
	return &paho.Publish{
		Topic: m.Topic, Payload: m.Payload, QoS: byte(m.QoS), Retain: m.Retain,
		Properties: &paho.PublishProperties{
			TopicAlias:      some(m.TopicAlias),
			MessageExpiry:   m.Expiry,
			PayloadFormat:   m.PayloadFormat,
			ContentType:     m.ContentType,
			ResponseTopic:   m.ResponseTopic,
			CorrelationData: m.CorrelationData,
			User:            toUser(m.UserProperties),
		},
	}
}

// message5 is a message as received. Paho keeps the last of several
// subscription identifiers only.
func message5(p *paho.Publish) Message {
	m := Message{
		Topic: p.Topic, Payload: p.Payload, QoS: packet.QoS(p.QoS), Retain: p.Retain, Dup: p.Duplicate(), PacketID: packet.ID(p.PacketID),
		TopicAlias:      value(p.Properties.TopicAlias, 0),
		Expiry:          p.Properties.MessageExpiry,
		PayloadFormat:   p.Properties.PayloadFormat,
		ContentType:     p.Properties.ContentType,
		ResponseTopic:   p.Properties.ResponseTopic,
		CorrelationData: p.Properties.CorrelationData,
		UserProperties:  fromUser(p.Properties.User),
	}
	if id := p.Properties.SubscriptionIdentifier; id != nil {
		m.SubscriptionIDs = []uint32{uint32(*id)}
	}
	return m
}

// seconds rounds a duration up to what CONNECT can carry.
func seconds(d time.Duration) uint16 {
	return uint16(min((d+time.Second-1)/time.Second, math.MaxUint16))
}

// some is nil for 0: a property that is left out.
func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// value is what a property says, or what its absence means.
func value[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

func toUser(all []UserProperty) (out paho.UserProperties) {
	for _, u := range all {
		out.Add(u.Key, u.Value)
	}
	return out
}

func fromUser(all paho.UserProperties) (out []UserProperty) {
	for _, u := range all {
		out = append(out, UserProperty{u.Key, u.Value})
	}
	return out
}
