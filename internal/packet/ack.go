package packet

import (
	"encoding/binary"
	"fmt"
)

// Ack is one of the packets that answer a PUBLISH: PUBACK, PUBREC, PUBREL and
// PUBCOMP (MQTT 5.0 sections 3.4 to 3.7).
type Ack struct {
	Type         Type
	ID           ID
	Code         ReasonCode     // 5.0 only
	ReasonString []byte         // 5.0 only; empty means none
	User         []UserProperty // 5.0 only
}

// Decode reads the packet. It allocates only if there are more user properties
// than in earlier packets.
func (p *Ack) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	*p = Ack{Type: TypeOf(first), User: p.User[:0]}
	if len(body) == 2 {
		if p.ID = ID(binary.BigEndian.Uint16(body)); p.ID != 0 {
			return nil
		}
	}
	r := reader{v: v, t: p.Type, b: body}
	p.ID = r.id()
	if v == V5 && len(r.b) > 0 {
		p.Code = r.code()
		if len(r.b) > 0 {
			p.readProperties(&r)
		}
	}
	return r.done()
}

func (p *Ack) readProperties(r *reader) {
	rest := r.varint()
	if r.err == nil && int(rest) != len(r.b) {
		r.malformed("property length does not fit the packet")
	}
	var seen uint64
	for len(r.b) > 0 {
		id := readPropertyID(r, 1<<r.t, &seen)
		if r.err != nil {
			return
		}
		if id == PropReasonString {
			p.ReasonString = readPropertyString(r, id)
			continue
		}
		p.User = append(p.User, readUser(r))
	}
}

// code reads a reason code that 5.0 allows in packets of the reader's type.
func (r *reader) code() ReasonCode {
	c := ReasonCode(r.byte())
	if r.err == nil && !c.AllowedIn(r.t) {
		r.fail(ProtocolError, reasonStatement(r.t), "", fmt.Sprintf("reason code 0x%02x does not belong in %v", uint8(c), r.t))
	}
	return c
}

// reasonStatement is the statement that lists the reason codes of a packet.
func reasonStatement(t Type) string {
	switch t {
	case CONNACK:
		return "MQTT-3.2.2-8"
	case SUBACK:
		return "MQTT-3.9.3-2"
	case UNSUBACK:
		return "MQTT-3.11.3-2"
	}
	return fmt.Sprintf("MQTT-3.%d.2-1", uint8(t))
}

// Append appends the packet to dst, in its shortest form.
func (p *Ack) Append(dst []byte, v Version) []byte {
	first := firstByte(p.Type)
	props := p.propertiesSize()
	switch {
	case v != V5 || p.Code == Success && props == 0:
		return binary.BigEndian.AppendUint16(append(dst, first, 2), uint16(p.ID))
	case props == 0:
		return append(binary.BigEndian.AppendUint16(append(dst, first, 3), uint16(p.ID)), byte(p.Code))
	}
	dst = appendVarint(append(dst, first), 3+varintSize(props)+props)
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(p.ID)), byte(p.Code))
	dst = appendVarint(dst, props)
	if len(p.ReasonString) > 0 {
		dst = appendBinary(append(dst, byte(PropReasonString)), p.ReasonString)
	}
	return appendUser(dst, p.User)
}

func (p *Ack) propertiesSize() (n int) {
	if len(p.ReasonString) > 0 {
		n += 3 + len(p.ReasonString)
	}
	for _, u := range p.User {
		n += 5 + len(u.Name) + len(u.Value)
	}
	return n
}

// AppendWithin appends the packet in at most limit bytes, the Maximum Packet
// Size of the receiver: without user properties, and then without reason
// string, if need be (MQTT-3.4.2-2, MQTT-3.4.2-3 and their like). It appends
// nothing if even that is too large.
func (p *Ack) AppendWithin(dst []byte, v Version, limit int) []byte {
	start := len(dst)
	if dst = p.Append(dst, v); len(dst)-start <= limit {
		return dst
	}
	less := *p
	less.User = nil
	if dst = less.Append(dst[:start], v); len(dst)-start <= limit {
		return dst
	}
	less.ReasonString = nil
	if dst = less.Append(dst[:start], v); len(dst)-start <= limit {
		return dst
	}
	return dst[:start]
}
