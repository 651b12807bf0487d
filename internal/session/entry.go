package session

import (
	"math"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// entry is a delivery that is queued or in flight.
type entry struct {
	ref
	m   *message.Message // nil if the content is on disk only
	via *via
}

// via is how a delivery came: nil for most. It does not change once it is built.
type via struct {
	ids   []uint32 // subscription identifiers
	group any      // the shared subscription, nil if none
}

// ref is what the session has in memory of a stored message that is queued, in
// 16 bytes.
type ref struct {
	key     message.Key // 0: the message is only in memory
	bits    uint32      // its size in bytes, and above:
	expires uint32      // when it ends, on the engine's clock in seconds, rounded up; 0: never or in over 136 years
}

const (
	bitQoS2   = 1 << 31
	bitRetain = 1 << 30
	bitSole   = 1 << 29
	bitSent   = 1 << 28     // the client may have it, from before the last start
	sizeBits  = bitSent - 1 // a packet can't be larger
)

func refOf(s message.Stored, qos packet.QoS, retain bool, expires time.Duration) ref {
	r := ref{key: s.Key, bits: uint32(s.Size) & sizeBits}
	if qos == 2 {
		r.bits |= bitQoS2
	}
	if retain {
		r.bits |= bitRetain
	}
	if s.Sole {
		r.bits |= bitSole
	}
	if expires != 0 && expires <= math.MaxUint32*time.Second {
		r.expires = uint32(max(1, (expires+time.Second-1)/time.Second))
	}
	return r
}

func (r *ref) size() int    { return int(r.bits & sizeBits) }
func (r *ref) retain() bool { return r.bits&bitRetain != 0 }

func (r *ref) qos() packet.QoS {
	if r.bits&bitQoS2 != 0 {
		return 2
	}
	return 1
}

// expired reports whether the message has expired, to the second; its content
// knows better.
func (r *ref) expired(now time.Duration) bool {
	return r.expires != 0 && now >= time.Duration(r.expires)*time.Second
}

func (r *ref) stored() message.Stored {
	return message.Stored{Key: r.key, Size: r.size(), Sole: r.bits&bitSole != 0}
}

// missing reports whether the content must be read before the message can be
// sent.
func (e *entry) missing() bool { return e.m == nil && e.key != 0 }

// expired reports whether the message has expired.
func (e *entry) expired(now time.Duration) bool {
	if e.m != nil {
		return e.m.Expired(now)
	}
	return e.ref.expired(now)
}

// group is the shared subscription that an entry came by, nil if none.
func (e *entry) group() any {
	if e.via == nil {
		return nil
	}
	return e.via.group
}

// publish is the PUBLISH of an entry, without its message.
func (e *entry) publish(id packet.ID, dup bool) packet.Publish {
	p := packet.Publish{Dup: dup, QoS: e.qos(), Retain: e.retain(), ID: id}
	if e.via != nil {
		p.Properties.SubscriptionIDs = e.via.ids // MQTT-3.3.4-3, -4
	}
	return p
}

// Cloner has a borrowed message for many sessions, and clones it for those that
// need it later: once, whatever their number.
type Cloner struct {
	Borrowed *message.Message
	Parcel   *message.Parcel  // likewise, for those to which it is in flight; nil: they get a clone
	clone    *message.Message // nil before the first Clone
}

// Clone returns the message with memory of its own.
func (c *Cloner) Clone() *message.Message {
	if c.clone == nil {
		c.clone = c.Borrowed.Clone()
	}
	return c.clone
}

// Cloned returns a Cloner for a message that has memory of its own already.
func Cloned(m *message.Message) *Cloner { return &Cloner{Borrowed: m, clone: m} }
