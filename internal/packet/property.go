package packet

import (
	"fmt"
	"unsafe"
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

// kind is the data type of a property and of its field in Properties.
type kind uint8

const (
	kindNone   kind = iota // no such property
	kindFlag               // a byte, 0 or 1: a bool, a byte or a QoS
	kindUint16             // uint16
	kindUint32             // uint32
	kindVarint             // []uint32, one for each that is there
	kindString             // []byte, UTF-8
	kindBinary             // []byte
	kindPair               // []UserProperty
)

// property is a row of table 2-4 of 5.0.
type property struct {
	name     string
	kind     kind
	in       types   // packets that may have it
	repeated types   // packets that may have it more than once
	field    uintptr // offset in Properties
	zero     breach  // if its value must not be 0
	utf8     string  // statement that a string which is not UTF-8 breaks
}

// breach is what a value of a property breaks; no clause: nothing.
type breach struct {
	code   ReasonCode
	clause string
}

const inAll = ^types(0) // packets without properties never get here

// properties are all properties of 5.0. TestPropertyTable compares it with the
// fields.
var properties = [maxProperty + 1]property{
	PropPayloadFormat:         {name: "payload format indicator", kind: kindFlag, in: inPublish | inWill, field: unsafe.Offsetof(Properties{}.PayloadFormat)},
	PropMessageExpiry:         {name: "message expiry interval", kind: kindUint32, in: inPublish | inWill, field: unsafe.Offsetof(Properties{}.MessageExpiry)},
	PropContentType:           {name: "content type", kind: kindString, in: inPublish | inWill, field: unsafe.Offsetof(Properties{}.ContentType), utf8: "MQTT-3.3.2-19"},
	PropResponseTopic:         {name: "response topic", kind: kindString, in: inPublish | inWill, field: unsafe.Offsetof(Properties{}.ResponseTopic), utf8: "MQTT-3.3.2-13"},
	PropCorrelationData:       {name: "correlation data", kind: kindBinary, in: inPublish | inWill, field: unsafe.Offsetof(Properties{}.CorrelationData)},
	PropSubscriptionID:        {name: "subscription identifier", kind: kindVarint, in: inPublish | inSubscribe, repeated: inPublish, field: unsafe.Offsetof(Properties{}.SubscriptionIDs), zero: breach{ProtocolError, "3.8.2.1.2"}},
	PropSessionExpiry:         {name: "session expiry interval", kind: kindUint32, in: inConnect | inConnack | inDisconnect, field: unsafe.Offsetof(Properties{}.SessionExpiry)},
	PropAssignedClientID:      {name: "assigned client identifier", kind: kindString, in: inConnack, field: unsafe.Offsetof(Properties{}.AssignedClientID)},
	PropServerKeepAlive:       {name: "server keep alive", kind: kindUint16, in: inConnack, field: unsafe.Offsetof(Properties{}.ServerKeepAlive)},
	PropAuthMethod:            {name: "authentication method", kind: kindString, in: inConnect | inConnack | inAuth, field: unsafe.Offsetof(Properties{}.AuthMethod)},
	PropAuthData:              {name: "authentication data", kind: kindBinary, in: inConnect | inConnack | inAuth, field: unsafe.Offsetof(Properties{}.AuthData)},
	PropRequestProblemInfo:    {name: "request problem information", kind: kindFlag, in: inConnect, field: unsafe.Offsetof(Properties{}.RequestProblemInfo)},
	PropWillDelay:             {name: "will delay interval", kind: kindUint32, in: inWill, field: unsafe.Offsetof(Properties{}.WillDelay)},
	PropRequestResponseInfo:   {name: "request response information", kind: kindFlag, in: inConnect, field: unsafe.Offsetof(Properties{}.RequestResponseInfo)},
	PropResponseInfo:          {name: "response information", kind: kindString, in: inConnack, field: unsafe.Offsetof(Properties{}.ResponseInfo)},
	PropServerReference:       {name: "server reference", kind: kindString, in: inConnack | inDisconnect, field: unsafe.Offsetof(Properties{}.ServerReference)},
	PropReasonString:          {name: "reason string", kind: kindString, in: inConnack | inReceipt | inRelease | inSuback | inUnsuback | inDisconnect | inAuth, field: unsafe.Offsetof(Properties{}.ReasonString)},
	PropReceiveMaximum:        {name: "receive maximum", kind: kindUint16, in: inConnect | inConnack, field: unsafe.Offsetof(Properties{}.ReceiveMaximum), zero: breach{ProtocolError, "3.1.2.11.3"}},
	PropTopicAliasMaximum:     {name: "topic alias maximum", kind: kindUint16, in: inConnect | inConnack, field: unsafe.Offsetof(Properties{}.TopicAliasMaximum)},
	PropTopicAlias:            {name: "topic alias", kind: kindUint16, in: inPublish, field: unsafe.Offsetof(Properties{}.TopicAlias), zero: breach{TopicAliasInvalid, "MQTT-3.3.2-8"}},
	PropMaximumQoS:            {name: "maximum QoS", kind: kindFlag, in: inConnack, field: unsafe.Offsetof(Properties{}.MaximumQoS)},
	PropRetainAvailable:       {name: "retain available", kind: kindFlag, in: inConnack, field: unsafe.Offsetof(Properties{}.RetainAvailable)},
	PropUser:                  {name: "user property", kind: kindPair, in: inAll, repeated: inAll, field: unsafe.Offsetof(Properties{}.User)},
	PropMaximumPacketSize:     {name: "maximum packet size", kind: kindUint32, in: inConnect | inConnack, field: unsafe.Offsetof(Properties{}.MaximumPacketSize), zero: breach{ProtocolError, "3.1.2.11.4"}},
	PropWildcardAvailable:     {name: "wildcard subscription available", kind: kindFlag, in: inConnack, field: unsafe.Offsetof(Properties{}.WildcardAvailable)},
	PropSubscriptionIDsUsable: {name: "subscription identifiers available", kind: kindFlag, in: inConnack, field: unsafe.Offsetof(Properties{}.SubscriptionIDsUsable)},
	PropSharedAvailable:       {name: "shared subscription available", kind: kindFlag, in: inConnack, field: unsafe.Offsetof(Properties{}.SharedAvailable)},
}

// fieldOf is the field of a property. T is the type that the property's kind
// says; a byte also stands for a bool and a QoS.
func fieldOf[T byte | uint16 | uint32 | []byte | []uint32 | []UserProperty](p *Properties, row *property) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), row.field))
}

// String returns the name of the property and its number.
func (id PropertyID) String() string {
	if id > maxProperty || properties[id].kind == kindNone {
		return fmt.Sprintf("property 0x%02x", uint8(id))
	}
	return fmt.Sprintf("%s (property 0x%02x)", properties[id].name, uint8(id))
}
