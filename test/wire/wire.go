// Package wire reads and writes MQTT packets for tests, as a client does: it
// reads what a server sends and writes what a client sends. It shares nothing
// with the broker's own codec, so that a fault there is not undone by the same
// fault here. The reader is strict: whatever the standard does not let a server
// send is an error.
package wire

import "fmt"

// Version is a protocol level, as CONNECT has it.
type Version byte

// The versions.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Type is a control packet type, the upper half of the first byte.
type Type byte

// The types.
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
	AUTH
)

// String is the name of the type.
func (t Type) String() string {
	names := [...]string{
		"CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
		"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	if t < CONNECT || t > AUTH {
		return fmt.Sprintf("packet type %d", byte(t))
	}
	return names[t-1]
}

// Packet is a packet from a server. Its slices are its own.
type Packet struct {
	Type       Type
	Dup        bool // PUBLISH
	Retain     bool // PUBLISH
	QoS        byte // PUBLISH
	Present    bool // CONNACK: Session Present
	ID         uint16
	Topic      string // PUBLISH
	Payload    []byte // PUBLISH
	Code       byte   // CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH
	Codes      []byte // SUBACK, UNSUBACK
	Properties Properties
}
