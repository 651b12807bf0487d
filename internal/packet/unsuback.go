package packet

import "encoding/binary"

// Unsuback is the UNSUBACK packet (MQTT 5.0 section 3.11).
type Unsuback struct {
	ID         ID
	Properties Properties   // 5.0 only
	Codes      []ReasonCode // 5.0 only: one for each topic filter, in the order of the UNSUBSCRIBE
}

// Decode reads the packet.
func (p *Unsuback) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: UNSUBACK, b: body}
	p.ID = r.id()
	p.Properties.read(&r)
	p.Codes = p.Codes[:0]
	if v == V5 {
		if len(r.b) == 0 {
			r.malformed("UNSUBACK without reason code")
		}
		for len(r.b) > 0 {
			p.Codes = append(p.Codes, r.code())
		}
	}
	return r.done()
}

// Append appends the packet to dst.
func (p *Unsuback) Append(dst []byte, v Version) []byte { return p.append(dst, v, &p.Properties) }

// AppendWithin appends the packet in at most limit bytes, the Maximum Packet
// Size of the receiver: without user properties, and then without reason
// string, if need be (MQTT-3.11.2-1, MQTT-3.11.2-2). It appends nothing if even
// that is too large.
func (p *Unsuback) AppendWithin(dst []byte, v Version, limit int) []byte {
	return appendWithin(dst, v, limit, &p.Properties, p.append)
}

func (p *Unsuback) append(dst []byte, v Version, props *Properties) []byte {
	dst = append(dst, firstByte(UNSUBACK))
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.ID))
	if v == V5 {
		dst = props.appendTo(dst, v)
		for _, c := range p.Codes {
			dst = append(dst, byte(c))
		}
	}
	return insertLength(dst, at)
}
