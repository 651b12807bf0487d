package pubsub

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"midge/internal/client"
)

// userProperties is written as an object. A key that comes twice is in it
// twice, as MQTT has it.
type userProperties []client.UserProperty

// MarshalJSON keeps the order.
func (u userProperties) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, p := range u {
		if i > 0 {
			out = append(out, ',')
		}
		for j, s := range []string{p.Key, p.Value} {
			if j > 0 {
				out = append(out, ':')
			}
			text, err := encode(s)
			if err != nil {
				return nil, err
			}
			out = append(out, text...)
		}
	}
	return append(out, '}'), nil
}

// someUser is nil if there are none, so that JSON leaves them out.
func someUser(all []client.UserProperty) *userProperties {
	if len(all) == 0 {
		return nil
	}
	u := userProperties(all)
	return &u
}

// messageJSON is a message as %j and %J write it.
type messageJSON struct {
	Time       string          `json:"tst"`
	Topic      string          `json:"topic"`
	QoS        uint8           `json:"qos"`
	Retain     int             `json:"retain"`
	Dup        int             `json:"dup,omitempty"`
	Size       int             `json:"payloadlen"`
	ID         uint16          `json:"mid,omitempty"`
	Properties *propertiesJSON `json:"properties,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Base64     []byte          `json:"payload_base64,omitempty"`
}

type propertiesJSON struct {
	Format        *uint8          `json:"payload-format-indicator,omitempty"`
	Expiry        *uint32         `json:"message-expiry-interval,omitempty"`
	ContentType   string          `json:"content-type,omitempty"`
	ResponseTopic string          `json:"response-topic,omitempty"`
	Correlation   *string         `json:"correlation-data,omitempty"`
	Correlation64 []byte          `json:"correlation-data_base64,omitempty"`
	Subscriptions []uint32        `json:"subscription-identifiers,omitempty"`
	TopicAlias    uint16          `json:"topic-alias,omitempty"`
	User          *userProperties `json:"user-properties,omitempty"`
}

// jsonOf writes a message as an object. The payload is a string if it is UTF-8,
// and base64 otherwise; with raw it must be JSON itself, and ok reports whether
// it is.
func jsonOf(m client.Message, at time.Time, raw, pretty bool) (text []byte, ok bool) {
	j := messageJSON{
		Time: at.Format("2006-01-02T15:04:05.000000-0700"), Topic: m.Topic, QoS: uint8(m.QoS), Retain: flag(m.Retain), Dup: flag(m.Dup),
		Size: len(m.Payload), ID: uint16(m.PacketID), Properties: propertiesOf(m),
	}
	switch {
	case raw && !json.Valid(m.Payload):
		return nil, false
	case raw:
		j.Payload = m.Payload
	case utf8.Valid(m.Payload):
		j.Payload, _ = encode(string(m.Payload)) // a string can be encoded
	default:
		j.Base64 = m.Payload
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(j); err != nil {
		return nil, false
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), true
}

// encode writes a string without escaping what only matters in HTML.
func encode(s string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// propertiesOf is nil if the message has none.
func propertiesOf(m client.Message) *propertiesJSON {
	p := propertiesJSON{
		Format: m.PayloadFormat, Expiry: m.Expiry, ContentType: m.ContentType, ResponseTopic: m.ResponseTopic,
		Subscriptions: m.SubscriptionIDs, TopicAlias: m.TopicAlias, User: someUser(m.UserProperties),
	}
	if m.CorrelationData != nil {
		if s := string(m.CorrelationData); utf8.ValidString(s) {
			p.Correlation = &s
		} else {
			p.Correlation64 = m.CorrelationData
		}
	}
	if p.Format == nil && p.Expiry == nil && p.ContentType == "" && p.ResponseTopic == "" && m.CorrelationData == nil &&
		p.Subscriptions == nil && p.TopicAlias == 0 && p.User == nil {
		return nil
	}
	return &p
}
