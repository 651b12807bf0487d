package client

import (
	"context"
	"fmt"

	"midge/internal/packet"
)

// UserProperty is a name and a value that MQTT only carries.
type UserProperty struct{ Key, Value string }

// Message is an application message, received or to be published.
type Message struct {
	Topic       string
	Payload     []byte
	QoS         packet.QoS
	Retain, Dup bool
	PacketID    packet.ID // of a message received with QoS 1 or 2

	// All that follows is 5.0.
	TopicAlias      uint16  // 0 means none
	Expiry          *uint32 // seconds
	PayloadFormat   *byte   // 0 bytes, 1 UTF-8
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	UserProperties  []UserProperty
	SubscriptionIDs []uint32 // of the subscriptions that a message received matches
}

// Will is what the broker publishes if the connection ends without Disconnect.
type Will struct {
	Message
	Delay uint32 // seconds; 5.0
}

// Subscription is a topic filter and how to match it.
type Subscription struct {
	Filter string
	QoS    packet.QoS

	// All that follows is 5.0.
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                uint32 // the subscription identifier; 0 means none
}

// Connected is what the broker said in CONNACK. Before 5.0 only SessionPresent
// comes from it, and the rest is what those versions always allow.
type Connected struct {
	SessionPresent      bool
	ClientID            string // the one in use: that of Options, or the assigned one
	AssignedID          string // "" if the broker assigned none
	KeepAlive           uint16 // seconds, as in force
	SessionExpiry       uint32 // seconds, as in force
	ReceiveMaximum      uint16
	MaximumQoS          packet.QoS
	MaximumPacketSize   uint32 // bytes; 0 means no limit
	TopicAliasMaximum   uint16
	RetainAvailable     bool
	WildcardsAvailable  bool
	IDsAvailable        bool // subscription identifiers
	SharedAvailable     bool
	ResponseInformation string
	ServerReference     string
	ReasonString        string
	UserProperties      []UserProperty
}

// Published is the broker's answer to a message. With QoS 0 there is none, and
// it is empty.
type Published struct {
	Reason         packet.ReasonCode
	ReasonString   string
	UserProperties []UserProperty
}

// Disconnection is the content of DISCONNECT, 5.0 only. Empty, it is a normal
// one.
type Disconnection struct {
	Reason         packet.ReasonCode
	SessionExpiry  *uint32 // seconds; nil leaves it as it was
	ReasonString   string
	UserProperties []UserProperty
}

// Receipt stands for the answer to a message that is under way.
type Receipt struct {
	client *Client
	topic  string
	// wait returns the answer, or an error when the connection ends first; nil
	// if there will be no answer.
	wait func(ctx context.Context, end <-chan struct{}) (Published, error)
}

// Wait returns when the broker has acknowledged the message; with QoS 0 at
// once. The error is a *Refused if it did so with a failure. Call it once.
func (r *Receipt) Wait(ctx context.Context) (Published, error) {
	if r.wait == nil {
		return Published{}, nil
	}
	p, err := r.wait(ctx, r.client.done)
	if err != nil {
		return p, r.client.failed("publish to", r.topic, err)
	}
	if p.Reason.Failed() {
		err = fmt.Errorf("publish to %s: %w", r.topic, &Refused{Reason: p.Reason, Text: p.ReasonString})
	}
	return p, err
}

// await returns what comes on the channel, which may have come before the end.
func await[T any](ctx context.Context, answer <-chan T, end <-chan struct{}) (t T, err error) {
	select {
	case t = <-answer:
		return t, nil
	case <-ctx.Done():
		return t, ctx.Err()
	case <-end:
	}
	select {
	case t = <-answer:
		return t, nil
	default:
		return t, errEnded
	}
}
