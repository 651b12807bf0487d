// Package packet is the codec for the control packets of MQTT 3.1, 3.1.1 and
// 5.0, in both directions: a broker and a client find all they need in it.
//
// # Reading
//
// Split cuts a packet off the bytes received. Its first byte tells the type
// (TypeOf); the struct of that type decodes the body:
//
//	first, body, size, err := packet.Split(b, limit)
//	...
//	switch packet.TypeOf(first) {
//	case packet.PUBLISH:
//		err = publish.Decode(v, first, body)
//
// Decoding copies nothing: byte slices in a decoded struct are borrowed from
// body, and end with it. A struct can be decoded into again and again; it then
// reuses its slices, so that steady traffic costs no allocation.
//
// Every violation by the peer is a *Fault with the reason code to answer with
// and the clause of the standard that it breaks. No input makes the package
// panic. What a packet alone can't tell is left to the caller: whether it may
// come now and from this side, and whether a topic filter is well-formed
// (package topic).
//
// # Writing
//
// Append methods append the encoded packet to a slice. They trust the caller:
// strings have at most 65,535 bytes and values are legal.
//
// Files, from the bottom up: version.go, reason.go, fault.go, primitive.go,
// packet.go, property.go, properties.go, publish_properties.go, publish.go,
// connect.go, ping.go, ack.go, disconnect.go, auth.go, connack.go, suback.go,
// subscribe.go, unsuback.go, unsubscribe.go.
package packet

import "fmt"

// Type is a control packet type, the upper half of a packet's first byte (MQTT
// 5.0 section 2.1.2).
type Type uint8

// The control packet types.
const (
	CONNECT Type = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH // 5.0 only
)

// String returns the name of the type as the standard writes it.
func (t Type) String() string {
	const names = "reserved   CONNECT    CONNACK    PUBLISH    PUBACK     PUBREC     PUBREL     PUBCOMP    " +
		"SUBSCRIBE  SUBACK     UNSUBSCRIBEUNSUBACK   PINGREQ    PINGRESP   DISCONNECT AUTH       "
	const width = 11
	if t > AUTH {
		return fmt.Sprintf("type %d", uint8(t))
	}
	name := names[int(t)*width : int(t)*width+width]
	for name[len(name)-1] == ' ' {
		name = name[:len(name)-1]
	}
	return name
}

// TypeOf returns the type of the packet that begins with the byte first.
func TypeOf(first byte) Type { return Type(first >> 4) }

// QoS is a quality of service level, 0 to 2.
type QoS uint8

// ID is a packet identifier; 0 means none.
type ID uint16

// MaxSize is the size in bytes of the largest packet that MQTT can express:
// five bytes of fixed header and a Remaining Length of 268,435,455.
const MaxSize = 5 + maxVarint

// Split finds the packet that b begins with. It returns the first byte, which
// CheckFirst and the Decode methods take, the body after the fixed header, and
// the size of the whole packet in bytes. size is 0, and err nil, while bytes
// are missing. body is borrowed from b.
//
// limit is the Maximum Packet Size in force, in bytes. A packet beyond it is a
// fault 0x95 as soon as the fixed header is there. Other faults are a
// Remaining Length of more than four bytes and types that no version knows.
// Their clauses are those of 5.0, since Split does not know the version.
func Split(b []byte, limit int) (first byte, body []byte, size int, err error) {
	if len(b) < 2 {
		if len(b) == 1 {
			first, err = b[0], checkType(b[0])
		}
		return first, nil, 0, err
	}
	first = b[0]
	length, used := int(b[1]), 1
	if length >= 0x80 {
		var n uint32
		if n, used = varint(b[1:]); used <= 0 {
			if used < 0 {
				err = newFault(V5, 0, MalformedPacket, "1.5.5", "", "remaining length has more than four bytes")
			}
			return first, nil, 0, err
		}
		length = int(n)
	}
	if first < 0x10 {
		return first, nil, 0, checkType(first)
	}
	size = 1 + used + length
	if size > limit {
		return first, nil, 0, newFault(V5, 0, PacketTooLarge, "MQTT-3.2.2-15", "",
			fmt.Sprintf("%v of %d bytes is over the limit of %d", TypeOf(first), size, limit))
	}
	if size > len(b) {
		return first, nil, 0, nil
	}
	return first, b[1+used : size : size], size, nil
}

// Announced is the size in bytes of the packet that b begins with, as its fixed
// header tells; 0 while that is not there.
func Announced(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	n, used := varint(b[1:])
	if used <= 0 {
		return 0
	}
	return 1 + used + int(n)
}

func checkType(first byte) error {
	if TypeOf(first) == 0 {
		return newFault(V5, 0, MalformedPacket, "2.1.2", "", "packet type 0 is reserved")
	}
	return nil
}

// CheckFirst reports whether version v allows a packet to begin with first: the
// type must exist and its flags must be legal. The Decode methods check it
// too; call CheckFirst to refuse a packet before its body has arrived.
func CheckFirst(v Version, first byte) error {
	t, flags := TypeOf(first), first&0x0f
	switch {
	case t == PUBLISH:
		return checkPublishFlags(v, first)
	case t == 0, t == AUTH && v != V5:
		return newFault(v, 0, MalformedPacket, "2.1.2", "2.2.1", fmt.Sprintf("packet type %d is reserved", uint8(t)))
	case v == V31:
		return nil // DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE is legal, and other flags are just unused (v31 section 2.1)
	}
	want, id5, id311 := byte(0), "MQTT-2.1.3-1", "MQTT-2.2.2-2"
	switch t {
	case PUBREL:
		want, id5, id311 = 0b0010, "MQTT-3.6.1-1", "MQTT-3.6.1-1"
	case SUBSCRIBE:
		want, id5, id311 = 0b0010, "MQTT-3.8.1-1", "MQTT-3.8.1-1"
	case UNSUBSCRIBE:
		want, id5, id311 = 0b0010, "MQTT-3.10.1-1", "MQTT-3.10.1-1"
	case DISCONNECT:
		id5, id311 = "MQTT-3.14.1-1", "MQTT-3.14.1-1"
	case AUTH:
		id5 = "MQTT-3.15.1-1"
	}
	if flags != want {
		return newFault(v, t, MalformedPacket, id5, id311, fmt.Sprintf("flags of %v are %04b", t, flags))
	}
	return nil
}

// checkPublishFlags reports whether the flags of a PUBLISH are legal
// (MQTT-3.3.1-2, -4).
func checkPublishFlags(v Version, first byte) error {
	qos := first >> 1 & 3
	if qos == 3 {
		return newFault(v, PUBLISH, MalformedPacket, "MQTT-3.3.1-4", "MQTT-3.3.1-4", "PUBLISH with QoS 3")
	}
	if qos == 0 && first&flagDup != 0 && v != V31 {
		return newFault(v, PUBLISH, MalformedPacket, "MQTT-3.3.1-2", "MQTT-3.3.1-2", "PUBLISH with DUP and QoS 0")
	}
	return nil
}

// firstByte is the first byte of a packet other than PUBLISH.
func firstByte(t Type) byte {
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		return byte(t)<<4 | 0b0010
	}
	return byte(t) << 4
}
