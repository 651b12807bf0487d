package packet

import "fmt"

// Connack is the CONNACK packet (MQTT 5.0 section 3.2).
type Connack struct {
	SessionPresent bool       // not in 3.1
	Code           ReasonCode // before 5.0 sent as a return code, see ReasonCode.ReturnCode
	Properties     Properties // 5.0 only
}

// Decode reads the packet.
func (p *Connack) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: CONNACK, b: body}
	flags := r.byte()
	if v == V31 {
		flags = 0 // reserved, not used
	}
	if flags > 1 {
		r.fail(MalformedPacket, "MQTT-3.2.2-1", "3.2.2.1", "reserved bits of the acknowledge flags are set")
	}
	p.SessionPresent = flags == 1
	if v == V5 {
		p.Code = r.code()
	} else {
		code := r.byte()
		c, ok := fromReturnCode(code)
		p.Code = c
		if !ok {
			r.fail(MalformedPacket, "", "3.2.2.3", fmt.Sprintf("return code %d is reserved", code))
		}
	}
	p.Properties.read(&r)
	return r.done()
}

// Append appends the packet to dst. Before 5.0 it appends nothing if there is
// no return code for Code: the server then just closes the network connection.
func (p *Connack) Append(dst []byte, v Version) []byte { return p.append(dst, v, &p.Properties) }

// AppendWithin appends the packet in at most limit bytes, the Maximum Packet
// Size of the client: without user properties, and then without reason string,
// if need be (MQTT-3.2.2-19, MQTT-3.2.2-20). It appends nothing if even that is
// too large.
func (p *Connack) AppendWithin(dst []byte, v Version, limit int) []byte {
	return appendWithin(dst, v, limit, &p.Properties, p.append)
}

func (p *Connack) append(dst []byte, v Version, props *Properties) []byte {
	code := byte(p.Code)
	if v != V5 {
		c, ok := p.Code.ReturnCode()
		if !ok {
			return dst
		}
		code = c
	}
	var flags byte
	if p.SessionPresent && v != V31 {
		flags = 1
	}
	dst = append(dst, firstByte(CONNACK))
	at := len(dst)
	dst = props.appendTo(append(dst, flags, code), v)
	return insertLength(dst, at)
}
