package session

// Policy says what becomes of a message that finds a queue full.
type Policy uint8

const (
	RefuseNew  Policy = iota // the new message is dropped
	DropOldest               // queued messages make room, the oldest first
)

// Config holds the limits that many sessions share. All fields must be set; package settings has the defaults and their reasons.
type Config struct {
	Offer          *Offer // to those that connect
	MaxInflight    uint16 // maximum of PUBLISH above QoS 0 that are in flight to a client
	AliasesOut     uint16 // maximum of topic aliases that we use for one client
	QueueMessages  int    // queued messages of one session that is not stored
	QueueBytes     int64  // their size in bytes (message.Message.Size)
	StoredMessages int    // queued messages of one session that is stored
	StoredBytes    int64  // their size in bytes
	QueuePolicy    Policy
	PendingBytes   int     // of stored messages that are in memory until they may be sent
	Journal        Journal // for sessions that are stored

	plain *terms // of all links to which nothing else applies; nil before the first
}

// Offer is what the broker takes from a client, as CONNACK said. It holds for
// the connection, whatever others are offered meanwhile. Nobody changes one.
type Offer struct {
	ReceiveMaximum    uint16 // PUBLISH above QoS 0 that it may have in flight to us
	TopicAliasMaximum uint16 // topic aliases that it may use
	MaximumPacketSize int    // in bytes
	RetainAvailable   bool
}

// MaxQueued is the number of messages that may be queued for a session.
func (c *Config) MaxQueued(stored bool) int {
	if stored {
		return c.StoredMessages
	}
	return c.QueueMessages
}
