// Package db reads the persistence file of Mosquitto (mosquitto.db): the formats
// 5, of Mosquitto 1.6, and 6, of 2.0, as they are written on little-endian
// machines. It reads only, and holds a file to what it means: each error has the
// offset of the chunk that is wrong.
//
// The file is a header and chunks. Numbers are big endian, but for numbers of
// messages and times, which are as in the memory of the machine.
//
//	header  15 bytes of magic, 4 bytes that are 0, u32 format
//	chunk   u32 kind, u32 length, body
//
// Files, from the bottom up: db.go, reader.go, chunk.go.
package db

import (
	"fmt"
	"time"

	"midge/internal/packet"
)

// File is what a persistence file has.
type File struct {
	Format        int
	Clients       []Client
	Subscriptions []Subscription
	Messages      map[uint64]*Message
	Deliveries    []Delivery // those of a client in their order, as they stand in the file
	Retained      []uint64   // numbers of messages

	// Gone is how many deliveries and retained messages name a message that the
	// file has not. Mosquitto leaves them out when it writes: those of $SYS.
	Gone int
}

// Client is a client with a session that outlives its connection.
type Client struct {
	ID     string
	Expiry uint32    // Session Expiry Interval, seconds; 4294967295 is never
	Ends   time.Time // when the session does; zero: never, or the client is connected
}

// Subscription is one of such a client.
type Subscription struct {
	ClientID          string
	Filter            string
	ID                uint32 // subscription identifier, 0 for none
	QoS               packet.QoS
	NoLocal           bool
	RetainAsPublished bool
}

// Message is an application message. Its bytes are borrowed from the file.
type Message struct {
	Topic      []byte
	Payload    []byte
	Properties []byte // that receivers get unaltered, without their length
	QoS        packet.QoS
	Retain     bool
	Publisher  string    // client id
	Expires    time.Time // zero: never
}

// Delivery is a message on its way to or from a client.
type Delivery struct {
	ClientID string
	Message  uint64
	ID       packet.ID // 0: it has none yet
	QoS      packet.QoS
	Retain   bool
	Incoming bool // from the client
	State    State
	IDs      []uint32 // subscription identifiers
}

// State is how far a delivery is.
type State uint8

// The states, with Mosquitto's numbers.
const (
	PublishQoS0  State = 1
	PublishQoS1  State = 2
	AwaitPuback  State = 3
	PublishQoS2  State = 4
	AwaitPubrec  State = 5
	ResendPubrel State = 6
	AwaitPubrel  State = 7
	SendPubcomp  State = 8
	AwaitPubcomp State = 9
	SendPubrec   State = 10
	Queued       State = 11
)

// Damaged is an error about a file that is not what it should be.
type Damaged struct {
	Offset int // of the chunk, in bytes
	Detail string
}

func (d *Damaged) Error() string { return fmt.Sprintf("at byte %d: %s", d.Offset, d.Detail) }
