package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Publish is the PUBLISH packet (MQTT 5.0 section 3.3).
type Publish struct {
	Dup        bool
	QoS        QoS
	Retain     bool
	ID         ID                // 0 for QoS 0
	Topic      []byte            // the topic name; empty only with a topic alias
	Payload    []byte            // the application message
	Properties PublishProperties // 5.0 only
}

const (
	flagDup    = 0b1000
	flagRetain = 0b0001
)

// Decode reads the packet. It does not allocate, except when subscription
// identifiers or properties in unusual order outgrow what the struct already
// has. Subscription identifiers are read although a client must not send any
// (MQTT-3.3.4-6): a server has to refuse them.
func (p *Publish) Decode(v Version, first byte, body []byte) error {
	if err := checkPublishFlags(v, first); err != nil {
		return err
	}
	p.QoS = QoS(first >> 1 & 3)
	p.Dup = first&flagDup != 0
	p.Retain = first&flagRetain != 0
	p.ID = 0

	if len(body) < 2 {
		return truncated(v, PUBLISH)
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n {
		return truncated(v, PUBLISH)
	}
	p.Topic = body[2:n:n]
	if !plainName(p.Topic) {
		if err := checkName(v, p.Topic); err != nil {
			return err
		}
	}
	body = body[n:]
	if p.QoS > 0 {
		if len(body) < 2 {
			return truncated(v, PUBLISH)
		}
		p.ID = ID(binary.BigEndian.Uint16(body))
		body = body[2:]
		if p.ID == 0 {
			return newFault(v, PUBLISH, MalformedPacket, "MQTT-2.2.1-3", "MQTT-2.3.1-1", "packet identifier is 0")
		}
	}
	if v != V5 {
		p.Properties.reset()
		if len(p.Topic) == 0 {
			return newFault(v, PUBLISH, ProtocolError, "", "MQTT-4.7.3-1", "topic name is empty")
		}
		p.Payload = body
		return nil
	}
	length, used := varint(body)
	if used <= 0 || len(body)-used < int(length) {
		return truncated(v, PUBLISH)
	}
	end := used + int(length)
	if err := p.Properties.decode(PUBLISH, body[used:end:end], nil); err != nil {
		return err
	}
	p.Payload = body[end:]
	if len(p.Topic) == 0 && p.Properties.TopicAlias == 0 {
		return newFault(v, PUBLISH, ProtocolError, "3.3.2.1", "", "topic name is empty and there is no topic alias")
	}
	return nil
}

func truncated(v Version, t Type) error {
	return newFault(v, t, MalformedPacket, "", "", "packet ends within a field")
}

// plainName reports whether a topic name has only ASCII characters that a topic
// name may have. Other names need a closer look.
func plainName(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf || c <= '+' && (c == 0 || c == '#' || c == '+') {
			return false
		}
	}
	return true
}

// checkName tells what is wrong with a topic name, if anything.
func checkName(v Version, name []byte) error {
	switch {
	case !utf8.Valid(name):
		return newFault(v, PUBLISH, MalformedPacket, "MQTT-3.3.2-1", "MQTT-3.3.2-1", "topic name is not well-formed UTF-8")
	case bytes.IndexByte(name, 0) >= 0:
		return newFault(v, PUBLISH, MalformedPacket, "MQTT-4.7.3-2", "MQTT-4.7.3-2", "topic name contains U+0000")
	case hasWildcard(name):
		return newFault(v, PUBLISH, TopicNameInvalid, "MQTT-3.3.2-2", "MQTT-3.3.2-2", "topic name contains a wildcard")
	}
	return nil
}

// CheckPayload compares the payload with the Payload Format Indicator: it must
// be UTF-8 if the indicator is 1 (MQTT 5.0 section 3.3.2.3.2, fault 0x99). A
// receiver may check that, so Decode leaves it to the caller.
func (p *Publish) CheckPayload() error {
	if p.Properties.PayloadFormat == 1 && !utf8.Valid(p.Payload) {
		return newFault(V5, PUBLISH, PayloadFormatInvalid, "3.3.2.3.2", "", "payload is not UTF-8 as its format indicator says")
	}
	return nil
}

// Size is the number of bytes that Append would append.
func (p *Publish) Size(v Version) int {
	n := p.remaining(v)
	return 1 + varintSize(n) + n
}

// remaining is the Remaining Length.
func (p *Publish) remaining(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		props := p.Properties.size()
		n += varintSize(props) + props
	}
	return n
}

// Append appends the packet to dst.
func (p *Publish) Append(dst []byte, v Version) []byte {
	dst, _ = p.AppendHead(dst, v)
	return append(dst, p.Payload...)
}

// AppendHead appends the packet without its payload, so that both can be sent
// as two slices. idAt is the index of the packet identifier in out, and 0 for
// QoS 0: receivers can share a head in which only that differs (see PutID).
func (p *Publish) AppendHead(dst []byte, v Version) (out []byte, idAt int) {
	first := byte(PUBLISH)<<4 | byte(p.QoS)<<1
	if p.Dup {
		first |= flagDup
	}
	if p.Retain {
		first |= flagRetain
	}
	dst = appendVarint(append(dst, first), p.remaining(v))
	dst = appendBinary(dst, p.Topic)
	if p.QoS > 0 {
		idAt = len(dst)
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.ID))
	}
	if v == V5 {
		dst = appendVarint(dst, p.Properties.size())
		dst = p.Properties.appendTo(dst)
	}
	return dst, idAt
}

// PutID writes a packet identifier to the first two bytes of b.
func PutID(b []byte, id ID) { binary.BigEndian.PutUint16(b, uint16(id)) }
