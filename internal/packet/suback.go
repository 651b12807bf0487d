package packet

import (
	"encoding/binary"
	"fmt"
)

// Suback is the SUBACK packet (MQTT 5.0 section 3.9).
type Suback struct {
	ID         ID
	Properties Properties   // 5.0 only
	Codes      []ReasonCode // one for each topic filter, in the order of the SUBSCRIBE
}

// Decode reads the packet.
func (p *Suback) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: SUBACK, b: body}
	p.ID = r.id()
	p.Properties.read(&r)
	p.Codes = p.Codes[:0]
	if len(r.b) == 0 {
		r.malformed("SUBACK without reason code")
	}
	for len(r.b) > 0 {
		if v == V5 {
			p.Codes = append(p.Codes, r.code())
			continue
		}
		c := ReasonCode(r.byte())
		if c > GrantedQoS2 && c != UnspecifiedError {
			r.fail(MalformedPacket, "", "MQTT-3.9.3-2", fmt.Sprintf("return code 0x%02x does not belong in SUBACK", uint8(c)))
		}
		p.Codes = append(p.Codes, c)
	}
	return r.done()
}

// Append appends the packet to dst. Before 5.0 every failure is 0x80. That is
// so in 3.1.1; 3.1 knows no failure here, but nothing else would tell its
// clients that they have no subscription.
func (p *Suback) Append(dst []byte, v Version) []byte { return p.append(dst, v, &p.Properties) }

// AppendWithin appends the packet in at most limit bytes, the Maximum Packet
// Size of the receiver: without user properties, and then without reason
// string, if need be (MQTT-3.9.2-1, MQTT-3.9.2-2). It appends nothing if even
// that is too large.
func (p *Suback) AppendWithin(dst []byte, v Version, limit int) []byte {
	return appendWithin(dst, v, limit, &p.Properties, p.append)
}

func (p *Suback) append(dst []byte, v Version, props *Properties) []byte {
	dst = append(dst, firstByte(SUBACK))
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.ID))
	dst = props.appendTo(dst, v)
	for _, c := range p.Codes {
		if v != V5 && c.Failed() {
			c = UnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return insertLength(dst, at)
}
