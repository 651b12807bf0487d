package wire

import "encoding/binary"

// Connect is a CONNECT.
type Connect struct {
	Version    Version
	Clean      bool // Clean Session, Clean Start
	KeepAlive  uint16
	ID         string
	Will       *Will
	User       string // "": none
	Password   string // "": none
	Properties Properties
}

// Will is a will.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties Properties
}

// Filter is one subscription of a SUBSCRIBE. 3.1 and 3.1.1 have the QoS only.
type Filter struct {
	Name              string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
}

// Append appends the packet to dst.
func (c *Connect) Append(dst []byte) []byte {
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	flags := byte(0)
	set := func(on bool, bits byte) {
		if on {
			flags |= bits
		}
	}
	set(c.Clean, 0x02)
	set(c.User != "", 0x80)
	set(c.Password != "", 0x40)
	if w := c.Will; w != nil {
		flags |= 0x04 | w.QoS<<3
		set(w.Retain, 0x20)
	}
	b := appendText(nil, name)
	b = append(b, byte(c.Version), flags)
	b = binary.BigEndian.AppendUint16(b, c.KeepAlive)
	b = appendProperties(b, c.Version, c.Properties)
	b = appendText(b, c.ID)
	if w := c.Will; w != nil {
		b = appendProperties(b, c.Version, w.Properties)
		b = appendText(appendText(b, w.Topic), string(w.Payload))
	}
	if c.User != "" {
		b = appendText(b, c.User)
	}
	if c.Password != "" {
		b = appendText(b, c.Password)
	}
	return appendPacket(dst, byte(CONNECT)<<4, b)
}

// AppendPublish appends a PUBLISH to dst.
func AppendPublish(dst []byte, v Version, p *Packet) []byte {
	first := byte(PUBLISH)<<4 | p.QoS<<1
	if p.Dup {
		first |= 8
	}
	if p.Retain {
		first |= 1
	}
	b := appendText(nil, p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	b = appendProperties(b, v, p.Properties)
	return appendPacket(dst, first, append(b, p.Payload...))
}

// AppendAck appends PUBACK, PUBREC, PUBREL or PUBCOMP to dst. code is for 5.0.
func AppendAck(dst []byte, v Version, t Type, id uint16, code byte) []byte {
	first := byte(t) << 4
	if t == PUBREL {
		first |= 2
	}
	b := binary.BigEndian.AppendUint16(nil, id)
	if v == V5 && code != 0 {
		b = append(b, code)
	}
	return appendPacket(dst, first, b)
}

// AppendSubscribe appends a SUBSCRIBE to dst.
func AppendSubscribe(dst []byte, v Version, id uint16, properties Properties, filters ...Filter) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = appendProperties(b, v, properties)
	for _, f := range filters {
		b = appendText(b, f.Name)
		options := f.QoS
		if v == V5 {
			options |= f.RetainHandling << 4
			if f.NoLocal {
				options |= 4
			}
			if f.RetainAsPublished {
				options |= 8
			}
		}
		b = append(b, options)
	}
	return appendPacket(dst, byte(SUBSCRIBE)<<4|2, b)
}

// AppendUnsubscribe appends an UNSUBSCRIBE to dst.
func AppendUnsubscribe(dst []byte, v Version, id uint16, filters ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = appendProperties(b, v, nil)
	for _, f := range filters {
		b = appendText(b, f)
	}
	return appendPacket(dst, byte(UNSUBSCRIBE)<<4|2, b)
}

// AppendPingreq appends a PINGREQ to dst.
func AppendPingreq(dst []byte) []byte { return appendPacket(dst, byte(PINGREQ)<<4, nil) }

// AppendDisconnect appends a DISCONNECT to dst. code and properties are for 5.0.
func AppendDisconnect(dst []byte, v Version, code byte, properties Properties) []byte {
	var b []byte
	if v == V5 && (code != 0 || len(properties) > 0) {
		b = appendProperties([]byte{code}, v, properties)
	}
	return appendPacket(dst, byte(DISCONNECT)<<4, b)
}

func appendPacket(dst []byte, first byte, body []byte) []byte {
	return append(appendVariable(append(dst, first), uint32(len(body))), body...)
}

func appendVariable(dst []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendProperties(dst []byte, v Version, all Properties) []byte {
	if v != V5 {
		return dst
	}
	b := all.Append(nil)
	return append(appendVariable(dst, uint32(len(b))), b...)
}

// Append appends the properties to dst, without their length.
func (ps Properties) Append(dst []byte) []byte {
	for _, p := range ps {
		dst = append(dst, p.ID)
		switch kinds[p.ID].form {
		case oneByte:
			dst = append(dst, byte(p.Value))
		case twoBytes:
			dst = binary.BigEndian.AppendUint16(dst, uint16(p.Value))
		case fourBytes:
			dst = binary.BigEndian.AppendUint32(dst, p.Value)
		case variable:
			dst = appendVariable(dst, p.Value)
		case text, binaryData:
			dst = appendText(dst, p.Text)
		case pair:
			dst = appendText(appendText(dst, p.Name), p.Text)
		}
	}
	return dst
}
