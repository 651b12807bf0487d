package packet

// Pingreq is the PINGREQ packet (MQTT 5.0 section 3.12).
type Pingreq struct{}

// Decode checks the packet.
func (Pingreq) Decode(v Version, first byte, body []byte) error { return decodeEmpty(v, first, body) }

// Append appends the packet to dst.
func (Pingreq) Append(dst []byte, v Version) []byte { return append(dst, firstByte(PINGREQ), 0) }

// Pingresp is the PINGRESP packet (MQTT 5.0 section 3.13).
type Pingresp struct{}

// Decode checks the packet.
func (Pingresp) Decode(v Version, first byte, body []byte) error { return decodeEmpty(v, first, body) }

// Append appends the packet to dst.
func (Pingresp) Append(dst []byte, v Version) []byte { return append(dst, firstByte(PINGRESP), 0) }

// decodeEmpty checks a packet that has no body.
func decodeEmpty(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: TypeOf(first), b: body}
	return r.done()
}
