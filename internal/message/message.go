// Package message holds an application message as it travels between shards,
// sessions and stores.
//
// A Message does not change once it is built, so threads may share it; the
// garbage collector ends its life. It knows no sessions and does no I/O.
//
// Files, from the bottom up: key.go, message.go, parcel.go.
package message

import (
	"time"

	"midge/internal/packet"
)

// Message is an application message (MQTT 5.0 section 1.2) on its way from its
// publisher to its receivers.
//
// A borrowed Message points into somebody's buffer and is valid for the
// current call only; Clone makes one that outlives it.
type Message struct {
	Topic   []byte // the topic name, never a topic alias
	Payload []byte

	// Properties are the properties that receivers get unaltered, in wire
	// form without the length in front: payload format, content type,
	// response topic, correlation data, user properties in their order
	// (MQTT-3.3.2-4, -15 to -20). Empty for publishers of 3.1 and 3.1.1.
	Properties []byte

	QoS    packet.QoS // as published
	Retain bool       // as published

	// Interval is the Message Expiry Interval that was asked for, in seconds,
	// if the message expires; the maximum if nobody knows it any more.
	Interval uint32

	// Expires is when the message expires, on the engine's clock (see
	// engine.Runner.Now); 0 means never (MQTT 5.0 section 3.3.2.3.3). Expire
	// sets it.
	Expires time.Duration

	// Publisher is the client id of the session that published it, "" for
	// the broker itself. No Local compares it.
	Publisher string
}

// Clone returns a Message with the same contents and memory of its own, in one
// allocation for all its bytes.
func (m *Message) Clone() *Message {
	clone := &Message{}
	m.CloneInto(clone)
	return clone
}

// CloneInto is Clone for a Message that is part of something larger.
func (m *Message) CloneInto(clone *Message) {
	*clone = *m
	b := make([]byte, 0, len(m.Topic)+len(m.Payload)+len(m.Properties))
	b = append(b, m.Topic...)
	b = append(b, m.Payload...)
	b = append(b, m.Properties...)
	t, p := len(m.Topic), len(m.Topic)+len(m.Payload)
	clone.Topic, clone.Payload, clone.Properties = b[:t:t], b[t:p:p], b[p:]
}

// Size is the number of bytes that the message is accounted with in queues and
// limits: topic, payload and properties.
func (m *Message) Size() int { return len(m.Topic) + len(m.Payload) + len(m.Properties) }

// minExpiry is how long a message lives whose interval is 0: it is for those who
// are connected, on whichever shard, and waits for nobody.
const minExpiry = 100 * time.Millisecond

// Expire makes the message expire so many seconds after now (MQTT 5.0 section
// 3.3.2.3.3).
func (m *Message) Expire(now time.Duration, seconds uint32) {
	m.Interval = seconds
	m.Expires = now + max(time.Duration(seconds)*time.Second, minExpiry)
}

// Expired reports whether the message has expired at now (MQTT-3.3.2-5).
func (m *Message) Expired(now time.Duration) bool { return m.Expires != 0 && now >= m.Expires }

// Remaining returns the Message Expiry Interval to send at now, in seconds to the
// nearest (MQTT-3.3.2-6), and never more than was asked for; ok is false if the
// message never expires. A message that has not expired has at least one second left,
// unless that was more than it was given.
func (m *Message) Remaining(now time.Duration) (seconds uint32, ok bool) {
	if m.Expires == 0 {
		return 0, false
	}
	left := max(1, (m.Expires-now+time.Second/2)/time.Second)
	return uint32(min(left, time.Duration(m.Interval))), true
}
