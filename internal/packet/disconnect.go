package packet

// Disconnect is the DISCONNECT packet (MQTT 5.0 section 3.14). Before 5.0 only
// clients send it, and it is empty.
type Disconnect struct {
	Code       ReasonCode // 5.0 only
	Properties Properties // 5.0 only
}

// Decode reads the packet.
func (p *Disconnect) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: DISCONNECT, b: body}
	p.Code = NormalDisconnection
	p.Properties.reset()
	if v == V5 {
		readCodeAndProperties(&r, &p.Code, &p.Properties)
	}
	return r.done()
}

// readCodeAndProperties reads the body of DISCONNECT and AUTH, in which both
// may be left out from the end.
func readCodeAndProperties(r *reader, code *ReasonCode, props *Properties) {
	if len(r.b) > 0 {
		*code = r.code()
	}
	if len(r.b) > 0 {
		props.read(r)
	}
}

// Append appends the packet to dst, in its shortest form.
func (p *Disconnect) Append(dst []byte, v Version) []byte { return p.append(dst, v, &p.Properties) }

// AppendWithin appends the packet in at most limit bytes, the Maximum Packet
// Size of the receiver: without user properties, and then without reason
// string, if need be (MQTT-3.14.2-3, MQTT-3.14.2-4). It appends nothing if even
// that is too large.
func (p *Disconnect) AppendWithin(dst []byte, v Version, limit int) []byte {
	return appendWithin(dst, v, limit, &p.Properties, p.append)
}

func (p *Disconnect) append(dst []byte, v Version, props *Properties) []byte {
	if v != V5 {
		return append(dst, firstByte(DISCONNECT), 0)
	}
	return appendCodeAndProperties(dst, DISCONNECT, p.Code, props)
}

// appendCodeAndProperties appends a DISCONNECT or AUTH in its shortest form.
func appendCodeAndProperties(dst []byte, t Type, code ReasonCode, props *Properties) []byte {
	dst = append(dst, firstByte(t))
	at := len(dst)
	if code != Success || !props.empty() {
		dst = append(dst, byte(code))
	}
	if !props.empty() {
		dst = props.appendTo(dst, V5)
	}
	return insertLength(dst, at)
}
