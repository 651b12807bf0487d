package packet

import "encoding/binary"

// Unsubscribe is the UNSUBSCRIBE packet (MQTT 5.0 section 3.10).
type Unsubscribe struct {
	ID         ID
	Properties Properties // 5.0 only
	Filters    [][]byte   // UTF-8, otherwise unchecked (see package topic)
}

// Decode reads the packet.
func (p *Unsubscribe) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: UNSUBSCRIBE, b: body}
	p.ID = r.id()
	p.Properties.read(&r)
	p.Filters = p.Filters[:0]
	if len(r.b) == 0 {
		r.fail(ProtocolError, "MQTT-3.10.3-2", "MQTT-3.10.3-2", "UNSUBSCRIBE without topic filter")
	}
	for len(r.b) > 0 {
		p.Filters = append(p.Filters, r.str("MQTT-3.10.3-1", "MQTT-3.10.3-1"))
	}
	return r.done()
}

// Append appends the packet to dst.
func (p *Unsubscribe) Append(dst []byte, v Version) []byte {
	dst = append(dst, firstByte(UNSUBSCRIBE))
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.ID))
	dst = p.Properties.appendTo(dst, v)
	for _, filter := range p.Filters {
		dst = appendBinary(dst, filter)
	}
	return insertLength(dst, at)
}
