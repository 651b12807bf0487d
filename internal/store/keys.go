package store

import (
	"encoding/binary"

	"midge/internal/message"
	"midge/internal/packet"
)

// The kinds of records, each the first byte of its keys. docs/format/store.md
// lists them; they must not change without a new format number.
const (
	kindSubscription = 'b' // session number, filter
	kindClock        = 'c' // nothing more
	kindIncoming     = 'i' // session number, packet identifier
	kindMessage      = 'm' // key: a message separate from its receivers
	kindReceivers    = 'r' // key; with 8 bytes more: receivers that are done
	kindSession      = 's' // session number
	kindRetained     = 't' // topic name
	kindUndecided    = 'u' // seq: a QoS 2 message that is not with all its shards yet
	kindWill         = 'w' // number of the will
	kindOutgoing     = 'x' // session number, key without the shard (steady)
)

// Parts of a message's records.
const (
	// PartOwn holds the receivers of the only shard that has some, with the
	// message in the same record.
	PartOwn = 0

	// partShards and those above are the receivers of one shard each, up to 64;
	// the message is separate and is shared.
	partShards = 1

	// partGroups and those above are each the one receiver of a shared
	// subscription, with the message in the same record.
	partGroups = 65

	// maxGroups is how many shared subscriptions have a part of their own.
	maxGroups = 255 - partGroups
)

// PartOfShard is the part for the receivers of a shard, 0 to 63.
func PartOfShard(shard int) uint8 { return uint8(partShards + shard) }

// PartOfGroup is the part for the receiver of the i-th shared subscription; ok
// is false if there are too many for one message, which then is stored anew.
func PartOfGroup(i int) (part uint8, ok bool) {
	return uint8(partGroups + min(i, maxGroups-1)), i < maxGroups
}

// shared reports whether a key's message is separate, for several shards.
func shared(k message.Key) bool { return k.Part() >= partShards && k.Part() < partGroups }

// SeparateBytes is the size in bytes from which a message is separate from its
// receivers, so that start reads them without it. It is part of the format.
const SeparateBytes = 4 << 10

func numberKey(dst []byte, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), n)
}

func clockKey(dst []byte) []byte { return append(dst, kindClock) }

func sessionKey(dst []byte, number uint64) []byte { return numberKey(dst, kindSession, number) }

func subscriptionKey(dst []byte, number uint64, filter string) []byte {
	return append(numberKey(dst, kindSubscription, number), filter...)
}

func incomingKey(dst []byte, number uint64, id packet.ID) []byte {
	return binary.BigEndian.AppendUint16(numberKey(dst, kindIncoming, number), uint16(id))
}

func outgoingKey(dst []byte, number uint64, k message.Key) []byte {
	return binary.BigEndian.AppendUint64(numberKey(dst, kindOutgoing, number), uint64(steady(k)))
}

// steady is a key as exchanges have it: the part for a shard may change with the
// number of shards.
func steady(k message.Key) message.Key {
	if shared(k) {
		return message.NewKey(k.Seq(), PartOwn)
	}
	return k
}

func retainedKey(dst, topic []byte) []byte { return append(append(dst, kindRetained), topic...) }

func willKey(dst []byte, number uint64) []byte { return numberKey(dst, kindWill, number) }

func undecidedKey(dst []byte, seq uint64) []byte { return numberKey(dst, kindUndecided, seq) }

func receiversKey(dst []byte, k message.Key) []byte { return numberKey(dst, kindReceivers, uint64(k)) }

// doneKey is the key of a list of receivers of k that are done; n distinguishes
// the lists.
func doneKey(dst []byte, k message.Key, n uint64) []byte {
	return binary.BigEndian.AppendUint64(receiversKey(dst, k), n)
}

// messageKey is the key of the message of k if it is separate.
func messageKey(dst []byte, k message.Key) []byte {
	if shared(k) {
		k = message.NewKey(k.Seq(), partShards)
	}
	return numberKey(dst, kindMessage, uint64(k))
}

// sharedMessageKey is the key of the message with a number if several shards share
// it.
func sharedMessageKey(dst []byte, seq uint64) []byte {
	return messageKey(dst, message.NewKey(seq, partShards))
}
