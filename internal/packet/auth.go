package packet

// Auth is the AUTH packet of 5.0 (section 3.15).
type Auth struct {
	Code       ReasonCode
	Properties Properties
}

// Decode reads the packet. Other versions than 5.0 don't have it.
func (p *Auth) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: AUTH, b: body}
	p.Code = Success
	p.Properties.reset()
	readCodeAndProperties(&r, &p.Code, &p.Properties)
	return r.done()
}

// Append appends the packet to dst, in its shortest form.
func (p *Auth) Append(dst []byte, v Version) []byte { return p.append(dst, v, &p.Properties) }

// AppendWithin appends the packet in at most limit bytes, the Maximum Packet
// Size of the receiver: without user properties, and then without reason
// string, if need be (MQTT-3.15.2-2, MQTT-3.15.2-3). It appends nothing if even
// that is too large.
func (p *Auth) AppendWithin(dst []byte, v Version, limit int) []byte {
	return appendWithin(dst, v, limit, &p.Properties, p.append)
}

func (p *Auth) append(dst []byte, _ Version, props *Properties) []byte {
	return appendCodeAndProperties(dst, AUTH, p.Code, props)
}
