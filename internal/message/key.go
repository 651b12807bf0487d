package message

// Key names a message in a store for the receivers of one shard: a number that
// grows with every message (Seq) and, in its lowest byte, which of the
// message's records it is (Part). 0 is no key: the message is only in memory.
type Key uint64

// NewKey returns the key of a part of a message. seq must be below 2^56.
func NewKey(seq uint64, part uint8) Key { return Key(seq<<8 | uint64(part)) }

// Seq is the number of the message.
func (k Key) Seq() uint64 { return uint64(k >> 8) }

// Part tells the records of a message apart.
func (k Key) Part() uint8 { return uint8(k) }

// Stored names a message that is on disk, or on its way there, as one session
// knows it.
type Stored struct {
	Key  Key
	Size int  // of the message (Message.Size), in bytes
	Sole bool // the session is the only one on its shard that it was written for
}
