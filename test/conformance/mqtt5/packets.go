package mqtt5

import (
	"encoding/binary"

	"midge/internal/packet"
	"midge/test/conformance/mqtt3"
)

// First bytes of packets that a client sends.
const (
	CONNECT     = 0x10
	PUBLISH     = 0x30
	PUBACK      = 0x40
	PUBREC      = 0x50
	PUBREL      = 0x62
	PUBCOMP     = 0x70
	SUBSCRIBE   = 0x82
	UNSUBSCRIBE = 0xa2
	PINGREQ     = 0xc0
	DISCONNECT  = 0xe0
	AUTH        = 0xf0
)

// ConnectPacket is the CONNECT packet in 5.0.
func ConnectPacket(p packet.Connect) []byte {
	p.Version = packet.V5
	return p.Append(nil)
}

// Packet is a packet with the body that mqtt3.Join makes of parts: an int is one
// byte, a packet.ID two, a string has its length in front, and bytes stand for
// themselves.
func Packet(first byte, parts ...any) []byte { return mqtt3.Packet(first, parts...) }

// Properties is a property length and the properties that mqtt3.Join makes of
// parts. It has no more than 127 bytes of them.
func Properties(parts ...any) []byte {
	b := mqtt3.Join(parts...)
	return append([]byte{byte(len(b))}, b...)
}

// Four is v as a Four Byte Integer.
func Four(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// ForwardWith is the properties of a PUBLISH that the server hands on as they
// are.
func ForwardWith(p packet.Properties, ids ...packet.PropertyID) packet.PublishProperties {
	p.Set(ids...)
	return packet.PublishProperties{Forward: p.AppendWire(nil)}
}
