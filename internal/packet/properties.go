package packet

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

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
func (p *Properties) Has(id PropertyID) bool { return p.all()>>id&1 != 0 }

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
	row := &properties[id]
	if row.in&in == 0 {
		r.fail(MalformedPacket, "2.2.2.2", "", fmt.Sprintf("%v does not belong here", id))
		return 0
	}
	if *seen>>id&1 != 0 && row.repeated&in == 0 {
		r.fail(ProtocolError, "2.2.2.2", "", fmt.Sprintf("%v is there twice", id))
	}
	*seen |= 1 << id
	return id
}

func (p *Properties) readOne(r *reader) {
	id := readPropertyID(r, 1<<r.t, &p.present)
	if r.err != nil {
		return
	}
	switch row := &properties[id]; row.kind {
	case kindFlag:
		*fieldOf[byte](p, row) = readFlag(r, id)
	case kindUint16:
		*fieldOf[uint16](p, row) = uint16(row.notZero(r, uint32(r.uint16())))
	case kindUint32:
		*fieldOf[uint32](p, row) = row.notZero(r, r.uint32())
	case kindVarint:
		ids := fieldOf[[]uint32](p, row)
		*ids = append(*ids, row.notZero(r, r.varint()))
	case kindString:
		*fieldOf[[]byte](p, row) = readPropertyString(r, id)
	case kindBinary:
		*fieldOf[[]byte](p, row) = r.binary()
	case kindPair:
		pairs := fieldOf[[]UserProperty](p, row)
		*pairs = append(*pairs, readUser(r))
	}
}

// notZero refuses a value of 0 if the property must not have it.
func (row *property) notZero(r *reader, n uint32) uint32 {
	if n == 0 && row.zero.clause != "" {
		r.fail(row.zero.code, row.zero.clause, "", row.name+" is 0")
	}
	return n
}

// readUser reads a string pair (MQTT-1.5.7-1).
func readUser(r *reader) (u UserProperty) {
	u.Name = r.str("MQTT-1.5.7-1", "")
	u.Value = r.str("MQTT-1.5.7-1", "")
	return u
}

// readFlag reads a property that is a byte of value 0 or 1.
func readFlag(r *reader, id PropertyID) byte {
	n := r.byte()
	if n > 1 {
		r.fail(ProtocolError, "", "", fmt.Sprintf("%v has the value %d", id, n))
		return 0
	}
	return n
}

func readPropertyString(r *reader, id PropertyID) []byte {
	statement := properties[id].utf8
	if statement == "" {
		statement = "MQTT-1.5.4-1"
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

// AppendWire appends the properties without a length in front, in the order of
// their identifiers, as PublishProperties.Forward wants them.
func (p *Properties) AppendWire(dst []byte) []byte {
	for present := p.all(); present != 0; present &= present - 1 {
		id := PropertyID(bits.TrailingZeros64(present))
		switch row := &properties[id]; row.kind {
		case kindFlag:
			dst = append(dst, byte(id), *fieldOf[byte](p, row))
		case kindUint16:
			dst = binary.BigEndian.AppendUint16(append(dst, byte(id)), *fieldOf[uint16](p, row))
		case kindUint32:
			dst = binary.BigEndian.AppendUint32(append(dst, byte(id)), *fieldOf[uint32](p, row))
		case kindVarint:
			dst = appendSubscriptionIDs(dst, *fieldOf[[]uint32](p, row))
		case kindString, kindBinary:
			dst = appendBinary(append(dst, byte(id)), *fieldOf[[]byte](p, row))
		case kindPair:
			dst = appendUser(dst, *fieldOf[[]UserProperty](p, row))
		}
	}
	return dst
}

// all is present, with the properties that are present if their lists are not
// empty.
func (p *Properties) all() uint64 {
	all := p.present &^ (1<<PropUser | 1<<PropSubscriptionID)
	if len(p.User) > 0 {
		all |= 1 << PropUser
	}
	if len(p.SubscriptionIDs) > 0 {
		all |= 1 << PropSubscriptionID
	}
	return all
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
	return p.all() == 0
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
