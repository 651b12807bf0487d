package packet

import (
	"encoding/binary"
	"fmt"
)

// PropertyID identifies a property of 5.0 (section 2.2.2.2).
type PropertyID uint8

// The properties of 5.0.
const (
	PropPayloadFormat         PropertyID = 0x01
	PropMessageExpiry         PropertyID = 0x02
	PropContentType           PropertyID = 0x03
	PropResponseTopic         PropertyID = 0x08
	PropCorrelationData       PropertyID = 0x09
	PropSubscriptionID        PropertyID = 0x0B
	PropSessionExpiry         PropertyID = 0x11
	PropAssignedClientID      PropertyID = 0x12
	PropServerKeepAlive       PropertyID = 0x13
	PropAuthMethod            PropertyID = 0x15
	PropAuthData              PropertyID = 0x16
	PropRequestProblemInfo    PropertyID = 0x17
	PropWillDelay             PropertyID = 0x18
	PropRequestResponseInfo   PropertyID = 0x19
	PropResponseInfo          PropertyID = 0x1A
	PropServerReference       PropertyID = 0x1C
	PropReasonString          PropertyID = 0x1F
	PropReceiveMaximum        PropertyID = 0x21
	PropTopicAliasMaximum     PropertyID = 0x22
	PropTopicAlias            PropertyID = 0x23
	PropMaximumQoS            PropertyID = 0x24
	PropRetainAvailable       PropertyID = 0x25
	PropUser                  PropertyID = 0x26
	PropMaximumPacketSize     PropertyID = 0x27
	PropWildcardAvailable     PropertyID = 0x28
	PropSubscriptionIDsUsable PropertyID = 0x29
	PropSharedAvailable       PropertyID = 0x2A

	maxProperty = PropSharedAvailable
)

// kind is the data type of a property.
type kind uint8

const (
	kindNone kind = iota // no such property
	kindBool             // a byte, 0 or 1
	kindUint16
	kindUint32
	kindVarint
	kindString
	kindBinary
	kindPair // two strings
)

// describe is table 2-4 of 5.0: the data type of a property and where it may
// be.
func (id PropertyID) describe() (k kind, in types) {
	switch id {
	case PropPayloadFormat:
		return kindBool, inPublish | inWill
	case PropMessageExpiry:
		return kindUint32, inPublish | inWill
	case PropContentType, PropResponseTopic:
		return kindString, inPublish | inWill
	case PropCorrelationData:
		return kindBinary, inPublish | inWill
	case PropSubscriptionID:
		return kindVarint, inPublish | inSubscribe
	case PropSessionExpiry:
		return kindUint32, inConnect | inConnack | inDisconnect
	case PropAssignedClientID, PropResponseInfo:
		return kindString, inConnack
	case PropServerKeepAlive:
		return kindUint16, inConnack
	case PropAuthMethod:
		return kindString, inConnect | inConnack | inAuth
	case PropAuthData:
		return kindBinary, inConnect | inConnack | inAuth
	case PropRequestProblemInfo, PropRequestResponseInfo:
		return kindBool, inConnect
	case PropWillDelay:
		return kindUint32, inWill
	case PropServerReference:
		return kindString, inConnack | inDisconnect
	case PropReasonString:
		return kindString, inConnack | inReceipt | inRelease | inSuback | inUnsuback | inDisconnect | inAuth
	case PropReceiveMaximum, PropTopicAliasMaximum:
		return kindUint16, inConnect | inConnack
	case PropTopicAlias:
		return kindUint16, inPublish
	case PropMaximumQoS, PropRetainAvailable, PropWildcardAvailable, PropSubscriptionIDsUsable, PropSharedAvailable:
		return kindBool, inConnack
	case PropUser:
		return kindPair, ^types(0) // packets without properties never get here
	case PropMaximumPacketSize:
		return kindUint32, inConnect | inConnack
	}
	return kindNone, 0
}

// UserProperty is a name and a value that the standard leaves to applications.
type UserProperty struct{ Name, Value []byte }

// Properties are the properties of a packet other than PUBLISH, and of a
// PUBLISH if one wants them all (see Parse). A field counts if Has says so,
// and User and SubscriptionIDs if they are not empty; to write a packet, fill
// in fields and name them to Set. The field comments tell what an absent
// property means.
type Properties struct {
	present uint64 // bit n: property n

	PayloadFormat         byte     // 1: payload is UTF-8
	MessageExpiry         uint32   // seconds; absent: the message does not expire
	ContentType           []byte   //
	ResponseTopic         []byte   //
	CorrelationData       []byte   //
	SubscriptionIDs       []uint32 // at most one in SUBSCRIBE
	SessionExpiry         uint32   // seconds, 0xFFFFFFFF: never; absent in CONNECT: 0, else: as CONNECT said
	AssignedClientID      []byte   //
	ServerKeepAlive       uint16   // seconds; absent: as CONNECT said
	AuthMethod            []byte   //
	AuthData              []byte   //
	RequestProblemInfo    bool     // absent: true
	WillDelay             uint32   // seconds; absent: 0
	RequestResponseInfo   bool     // absent: false
	ResponseInfo          []byte   //
	ServerReference       []byte   //
	ReasonString          []byte   //
	ReceiveMaximum        uint16   // absent: 65,535
	TopicAliasMaximum     uint16   // absent: 0
	TopicAlias            uint16   //
	MaximumQoS            QoS      // 0 or 1; absent: 2
	RetainAvailable       bool     // absent: true
	User                  []UserProperty
	MaximumPacketSize     uint32 // bytes; absent: no limit
	WildcardAvailable     bool   // absent: true
	SubscriptionIDsUsable bool   // absent: true
	SharedAvailable       bool   // absent: true
}

// Has reports whether property id is present.
func (p *Properties) Has(id PropertyID) bool {
	switch id {
	case PropUser:
		return len(p.User) > 0
	case PropSubscriptionID:
		return len(p.SubscriptionIDs) > 0
	}
	return p.present>>id&1 != 0
}

// Set makes properties present.
func (p *Properties) Set(ids ...PropertyID) {
	for _, id := range ids {
		p.present |= 1 << id
	}
}

// Unset makes properties absent.
func (p *Properties) Unset(ids ...PropertyID) {
	for _, id := range ids {
		p.present &^= 1 << id
		switch id {
		case PropUser:
			p.User = nil
		case PropSubscriptionID:
			p.SubscriptionIDs = nil
		}
	}
}

func (p *Properties) reset() {
	*p = Properties{User: p.User[:0], SubscriptionIDs: p.SubscriptionIDs[:0]}
}

// Parse reads properties in wire form, without the length in front, as
// PublishProperties.Forward has them. t is the type of the packet they are
// from.
func (p *Properties) Parse(t Type, wire []byte) error {
	r := reader{v: V5, t: t, b: wire}
	p.reset()
	for len(r.b) > 0 {
		p.readOne(&r)
	}
	if p.Has(PropAuthData) && !p.Has(PropAuthMethod) {
		r.fail(ProtocolError, "3.1.2.11.10", "", "authentication data without authentication method")
	}
	return r.err
}

// read reads the properties that begin with their length.
func (p *Properties) read(r *reader) {
	if r.v != V5 {
		p.reset()
		return
	}
	wire := r.take(int(r.varint()))
	if r.err != nil {
		p.reset()
		return
	}
	if err := p.Parse(r.t, wire); err != nil {
		r.err, r.b = err, nil
	}
}

// readPropertyID reads the identifier of a property, which has to be one of
// type t's and, unless it may be repeated, not among those seen. seen has a bit
// for each identifier.
func readPropertyID(r *reader, in types, seen *uint64) PropertyID {
	n := r.varint()
	if n > uint32(maxProperty) {
		r.fail(MalformedPacket, "2.2.2.2", "", fmt.Sprintf("no property has the identifier 0x%02x", n))
		return 0
	}
	id := PropertyID(n)
	if _, allowed := id.describe(); allowed&in == 0 {
		r.fail(MalformedPacket, "2.2.2.2", "", fmt.Sprintf("property 0x%02x does not belong here", n))
		return 0
	}
	repeatable := id == PropUser || id == PropSubscriptionID && in == inPublish
	if *seen>>id&1 != 0 && !repeatable {
		r.fail(ProtocolError, "2.2.2.2", "", fmt.Sprintf("property 0x%02x is there twice", n))
	}
	*seen |= 1 << id
	return id
}

func (p *Properties) readOne(r *reader) {
	id := readPropertyID(r, 1<<r.t, &p.present)
	if r.err != nil {
		return
	}
	switch k, _ := id.describe(); k {
	case kindBool:
		p.putByte(id, readFlag(r, id))
	case kindUint16:
		n := r.uint16()
		if n == 0 && id == PropReceiveMaximum {
			r.fail(ProtocolError, "3.1.2.11.3", "", "receive maximum is 0")
		}
		if n == 0 && id == PropTopicAlias {
			r.fail(TopicAliasInvalid, "MQTT-3.3.2-8", "", "topic alias is 0")
		}
		*p.uint16(id) = n
	case kindUint32:
		n := r.uint32()
		if n == 0 && id == PropMaximumPacketSize {
			r.fail(ProtocolError, "3.1.2.11.4", "", "maximum packet size is 0")
		}
		*p.uint32(id) = n
	case kindVarint:
		p.SubscriptionIDs = append(p.SubscriptionIDs, readSubscriptionID(r))
	case kindString:
		*p.bytes(id) = readPropertyString(r, id)
	case kindBinary:
		*p.bytes(id) = r.binary()
	case kindPair:
		u := UserProperty{Name: r.str("MQTT-1.5.7-1", "")}
		u.Value = r.str("MQTT-1.5.7-1", "")
		p.User = append(p.User, u)
	}
}

// readFlag reads a property that is a byte of value 0 or 1.
func readFlag(r *reader, id PropertyID) byte {
	n := r.byte()
	if n > 1 {
		r.fail(ProtocolError, "", "", fmt.Sprintf("property 0x%02x has the value %d", uint8(id), n))
	}
	return n
}

func readSubscriptionID(r *reader) uint32 {
	n := r.varint()
	if n == 0 {
		r.fail(ProtocolError, "3.8.2.1.2", "", "subscription identifier is 0")
	}
	return n
}

func readPropertyString(r *reader, id PropertyID) []byte {
	statement := "MQTT-1.5.4-1"
	switch id {
	case PropContentType:
		statement = "MQTT-3.3.2-19"
	case PropResponseTopic:
		statement = "MQTT-3.3.2-13"
	}
	s := r.str(statement, "")
	if id == PropResponseTopic {
		if hasWildcard(s) {
			r.fail(ProtocolError, "MQTT-3.3.2-14", "", "response topic contains a wildcard")
		}
		if len(s) == 0 {
			r.fail(ProtocolError, "MQTT-4.7.3-1", "", "response topic is empty")
		}
	}
	return s
}

// putByte stores a property of kindBool, and byte returns it.
func (p *Properties) putByte(id PropertyID, n byte) {
	switch id {
	case PropPayloadFormat:
		p.PayloadFormat = n
	case PropMaximumQoS:
		p.MaximumQoS = QoS(n)
	default:
		*p.flag(id) = n == 1
	}
}

func (p *Properties) byte(id PropertyID) byte {
	switch id {
	case PropPayloadFormat:
		return p.PayloadFormat
	case PropMaximumQoS:
		return byte(p.MaximumQoS)
	}
	if *p.flag(id) {
		return 1
	}
	return 0
}

// flag, uint16, uint32 and bytes return the field of a property by its kind.
// They are called only with identifiers whose kind is theirs.
func (p *Properties) flag(id PropertyID) *bool {
	switch id {
	case PropRequestProblemInfo:
		return &p.RequestProblemInfo
	case PropRequestResponseInfo:
		return &p.RequestResponseInfo
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropWildcardAvailable:
		return &p.WildcardAvailable
	case PropSubscriptionIDsUsable:
		return &p.SubscriptionIDsUsable
	default:
		return &p.SharedAvailable
	}
}

func (p *Properties) uint16(id PropertyID) *uint16 {
	switch id {
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	default:
		return &p.TopicAlias
	}
}

func (p *Properties) uint32(id PropertyID) *uint32 {
	switch id {
	case PropMessageExpiry:
		return &p.MessageExpiry
	case PropSessionExpiry:
		return &p.SessionExpiry
	case PropWillDelay:
		return &p.WillDelay
	default:
		return &p.MaximumPacketSize
	}
}

func (p *Properties) bytes(id PropertyID) *[]byte {
	switch id {
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropCorrelationData:
		return &p.CorrelationData
	case PropAssignedClientID:
		return &p.AssignedClientID
	case PropAuthMethod:
		return &p.AuthMethod
	case PropAuthData:
		return &p.AuthData
	case PropResponseInfo:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	default:
		return &p.ReasonString
	}
}

// AppendWire appends the properties without a length in front, in the order of
// their identifiers, as PublishProperties.Forward wants them.
func (p *Properties) AppendWire(dst []byte) []byte {
	for id := PropertyID(1); id <= maxProperty; id++ {
		if !p.Has(id) {
			continue
		}
		switch k, _ := id.describe(); k {
		case kindBool:
			dst = append(dst, byte(id), p.byte(id))
		case kindUint16:
			dst = binary.BigEndian.AppendUint16(append(dst, byte(id)), *p.uint16(id))
		case kindUint32:
			dst = binary.BigEndian.AppendUint32(append(dst, byte(id)), *p.uint32(id))
		case kindVarint:
			dst = appendSubscriptionIDs(dst, p.SubscriptionIDs)
		case kindString, kindBinary:
			dst = appendBinary(append(dst, byte(id)), *p.bytes(id))
		case kindPair:
			dst = appendUser(dst, p.User)
		}
	}
	return dst
}

// appendTo appends the properties with their length in front, and nothing
// before 5.0.
func (p *Properties) appendTo(dst []byte, v Version) []byte {
	if v != V5 {
		return dst
	}
	at := len(dst)
	return insertLength(p.AppendWire(dst), at)
}

func (p *Properties) empty() bool {
	return p.present == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0
}

func appendSubscriptionIDs(dst []byte, ids []uint32) []byte {
	for _, n := range ids {
		dst = appendVarint(append(dst, byte(PropSubscriptionID)), int(n))
	}
	return dst
}

func appendUser(dst []byte, user []UserProperty) []byte {
	for _, u := range user {
		dst = appendBinary(append(dst, byte(PropUser)), u.Name)
		dst = appendBinary(dst, u.Value)
	}
	return dst
}

// appendWithin appends the packet that encode appends for some properties,
// at best p: without user properties, and then without reason string, where
// the packet would otherwise exceed limit bytes. It appends nothing if the
// packet is too large even so.
func appendWithin(dst []byte, v Version, limit int, p *Properties, encode func([]byte, Version, *Properties) []byte) []byte {
	start := len(dst)
	if dst = encode(dst, v, p); len(dst)-start <= limit {
		return dst
	}
	return appendLess(dst[:start], v, limit, *p, encode)
}

// appendLess is appendWithin for a packet that is too large as it is. Only it
// needs a copy of the properties.
func appendLess(dst []byte, v Version, limit int, less Properties, encode func([]byte, Version, *Properties) []byte) []byte {
	start := len(dst)
	for _, drop := range []PropertyID{PropUser, PropReasonString} {
		less.Unset(drop)
		if dst = encode(dst[:start], v, &less); len(dst)-start <= limit {
			return dst
		}
	}
	return dst[:start]
}
