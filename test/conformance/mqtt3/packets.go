package mqtt3

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"midge/internal/packet"
)

// First bytes of the packets that a server sends.
const (
	Connack  = 0x20
	Puback   = 0x40
	Pubrec   = 0x50
	Pubrel   = 0x62
	Pubcomp  = 0x70
	Suback   = 0x90
	Unsuback = 0xb0
	Pingresp = 0xd0
)

// The connect flags.
const (
	CleanSession = 1 << 1
	HasWill      = 1 << 2
	WillQoS1     = 1 << 3
	WillQoS2     = 2 << 3
	WillQoS3     = 3 << 3
	WillRetain   = 1 << 5
	HasPassword  = 1 << 6
	HasUserName  = 1 << 7
)

// Pingreq is the PINGREQ packet.
func Pingreq() []byte { return []byte{0xc0, 0} }

// Disconnect is the DISCONNECT packet.
func Disconnect() []byte { return []byte{0xe0, 0} }

// Publish is a PUBLISH packet, without packet identifier if id is 0.
func Publish(first byte, topic string, id packet.ID, payload string) []byte {
	if id == 0 {
		return Packet(first, topic, []byte(payload))
	}
	return Packet(first, topic, id, []byte(payload))
}

// Packet is a packet with the body that Join makes of parts.
func Packet(first byte, parts ...any) []byte {
	body := Join(parts...)
	p := []byte{first}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		p = append(p, byte(n)|0x80)
	}
	return append(append(p, byte(n)), body...)
}

// Join concatenates parts: an int is one byte, a packet.ID two, a string has
// its length in front, and bytes stand for themselves.
func Join(parts ...any) (b []byte) {
	for _, part := range parts {
		switch p := part.(type) {
		case int:
			b = append(b, byte(p))
		case packet.ID:
			b = binary.BigEndian.AppendUint16(b, uint16(p))
		case string:
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
		case []byte:
			b = append(b, p...)
		default:
			panic(fmt.Sprintf("part of type %T", part))
		}
	}
	return b
}

// Options are what a test wants of CONNECT.
type Options struct {
	Version   packet.Version
	ID        string // client identifier
	Session   bool   // Clean Session 0
	KeepAlive int    // seconds; 0 for none
	Will      *Will
}

// Will is a will message.
type Will struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
}

// Packet is the CONNECT packet.
func (o Options) Packet() []byte {
	name, flags := "MQTT", 0
	if o.Version == packet.V31 {
		name = "MQIsdp"
	}
	if !o.Session {
		flags |= CleanSession
	}
	var last []byte
	if w := o.Will; w != nil {
		flags |= HasWill | int(w.QoS)<<3
		if w.Retain {
			flags |= WillRetain
		}
		last = Join(w.Topic, w.Payload)
	}
	return Packet(0x10, name, int(o.Version), flags, packet.ID(o.KeepAlive), o.ID, last)
}

// Names makes names that are unique among the tests that share a server.
type Names struct{ count atomic.Int64 }

// Next is a name that serves as client identifier, topic level or payload.
func (n *Names) Next() string { return fmt.Sprint("n", n.count.Add(1)) }
