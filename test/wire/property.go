package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Property is one property of 5.0 (section 2.2.2.2).
type Property struct {
	ID    byte
	Value uint32 // of a number
	Text  string // of a string or binary data, and the value of a User Property
	Name  string // of a User Property
}

// Properties are those of a packet, in their order.
type Properties []Property

// The properties that a server may send, and those of a client that Append
// takes.
const (
	PayloadFormat           = 0x01
	MessageExpiry           = 0x02
	ContentType             = 0x03
	ResponseTopic           = 0x08
	CorrelationData         = 0x09
	SubscriptionID          = 0x0b
	SessionExpiry           = 0x11
	AssignedClientID        = 0x12
	ServerKeepAlive         = 0x13
	AuthenticationMethod    = 0x15
	AuthenticationData      = 0x16
	RequestProblem          = 0x17
	WillDelay               = 0x18
	RequestResponse         = 0x19
	ResponseInformation     = 0x1a
	ServerReference         = 0x1c
	ReasonString            = 0x1f
	ReceiveMaximum          = 0x21
	TopicAliasMaximum       = 0x22
	TopicAlias              = 0x23
	MaximumQoS              = 0x24
	RetainAvailable         = 0x25
	UserProperty            = 0x26
	MaximumPacketSize       = 0x27
	WildcardAvailable       = 0x28
	SubscriptionIDAvailable = 0x29
	SharedAvailable         = 0x2a
)

// Has tells whether there is a property.
func (ps Properties) Has(id byte) bool {
	return slices.ContainsFunc(ps, func(p Property) bool { return p.ID == id })
}

// Get returns the first property with this identifier, the zero value if there
// is none.
func (ps Properties) Get(id byte) Property {
	for _, p := range ps {
		if p.ID == id {
			return p
		}
	}
	return Property{}
}

// All are the properties with this identifier, in their order.
func (ps Properties) All(id byte) (all Properties) {
	for _, p := range ps {
		if p.ID == id {
			all = append(all, p)
		}
	}
	return all
}

// form is how the value of a property is written.
type form byte

const (
	oneByte form = iota + 1
	twoBytes
	fourBytes
	variable
	text
	binaryData
	pair
)

// kind is what table 2-4 of the standard says of a property.
type kind struct {
	form form
	in   []Type // packets from a server that may have it
}

var kinds = map[byte]kind{
	PayloadFormat:           {oneByte, []Type{PUBLISH}},
	MessageExpiry:           {fourBytes, []Type{PUBLISH}},
	ContentType:             {text, []Type{PUBLISH}},
	ResponseTopic:           {text, []Type{PUBLISH}},
	CorrelationData:         {binaryData, []Type{PUBLISH}},
	SubscriptionID:          {variable, []Type{PUBLISH}},
	SessionExpiry:           {fourBytes, []Type{CONNACK}},
	AssignedClientID:        {text, []Type{CONNACK}},
	ServerKeepAlive:         {twoBytes, []Type{CONNACK}},
	AuthenticationMethod:    {text, []Type{CONNACK, AUTH}},
	AuthenticationData:      {binaryData, []Type{CONNACK, AUTH}},
	RequestProblem:          {oneByte, nil},
	WillDelay:               {fourBytes, nil},
	RequestResponse:         {oneByte, nil},
	ResponseInformation:     {text, []Type{CONNACK}},
	ServerReference:         {text, []Type{CONNACK, DISCONNECT}},
	ReasonString:            {text, []Type{CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}},
	ReceiveMaximum:          {twoBytes, []Type{CONNACK}},
	TopicAliasMaximum:       {twoBytes, []Type{CONNACK}},
	TopicAlias:              {twoBytes, []Type{PUBLISH}},
	MaximumQoS:              {oneByte, []Type{CONNACK}},
	RetainAvailable:         {oneByte, []Type{CONNACK}},
	UserProperty:            {pair, []Type{CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}},
	MaximumPacketSize:       {fourBytes, []Type{CONNACK}},
	WildcardAvailable:       {oneByte, []Type{CONNACK}},
	SubscriptionIDAvailable: {oneByte, []Type{CONNACK}},
	SharedAvailable:         {oneByte, []Type{CONNACK}},
}

// properties reads a property length and the properties behind it.
func (r *reader) properties(in Type) (all Properties, err error) {
	length, err := r.variable("property length")
	if err != nil {
		return nil, err
	}
	if int(length) > len(r.b) {
		return nil, fmt.Errorf("property length %d, %d bytes are left", length, len(r.b))
	}
	rest := r.b[length:]
	r.b = r.b[:length]
	for len(r.b) > 0 {
		id, err := r.variable("property identifier")
		if err != nil {
			return nil, err
		}
		p := Property{ID: byte(id)}
		k, known := kinds[p.ID]
		switch {
		case id > 0x7f || !known:
			return nil, fmt.Errorf("unknown property 0x%02x", id)
		case !slices.Contains(k.in, in):
			return nil, fmt.Errorf("property 0x%02x in %v", id, in)
		case all.Has(p.ID) && p.ID != UserProperty && !(p.ID == SubscriptionID && in == PUBLISH):
			return nil, fmt.Errorf("property 0x%02x twice", id)
		}
		if err := r.value(&p, k.form); err != nil {
			return nil, fmt.Errorf("property 0x%02x: %w", id, err)
		}
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("property 0x%02x: %w", id, err)
		}
		all = append(all, p)
	}
	if all.Has(AuthenticationData) && !all.Has(AuthenticationMethod) {
		return nil, errors.New("authentication data without a method")
	}
	r.b = rest
	return all, nil
}

// value reads the value of a property.
func (r *reader) value(p *Property, f form) (err error) {
	switch f {
	case oneByte:
		var v byte
		v, err = r.byte("value")
		p.Value = uint32(v)
	case twoBytes:
		var v uint16
		v, err = r.uint16("value")
		p.Value = uint32(v)
	case fourBytes:
		if len(r.b) < 4 {
			return errShort
		}
		p.Value = binary.BigEndian.Uint32(r.b)
		r.b = r.b[4:]
	case variable:
		p.Value, err = r.variable("value")
	case text:
		p.Text, err = r.text()
	case binaryData:
		p.Text, err = r.binary()
	case pair:
		if p.Name, err = r.text(); err == nil {
			p.Text, err = r.text()
		}
	}
	return err
}

// check looks at values that a property may not have.
func (p *Property) check() error {
	switch p.ID {
	case PayloadFormat, RetainAvailable, WildcardAvailable, SubscriptionIDAvailable, SharedAvailable, MaximumQoS:
		if p.Value > 1 {
			return fmt.Errorf("value %d", p.Value)
		}
	case SubscriptionID, ReceiveMaximum, TopicAlias, MaximumPacketSize:
		if p.Value == 0 {
			return errors.New("value 0")
		}
	case ResponseTopic:
		return checkTopic(p.Text)
	}
	return nil
}

// checkText looks at what a string may not have (1.5.4).
func checkText(b []byte) error {
	if !utf8.Valid(b) {
		return fmt.Errorf("% x is not UTF-8", b)
	}
	if slices.Contains(b, 0) {
		return fmt.Errorf("%q has U+0000", b)
	}
	return nil
}
