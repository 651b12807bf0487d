package packet

import (
	"bytes"
	"encoding/binary"
)

// Subscribe is the SUBSCRIBE packet (MQTT 5.0 section 3.8).
type Subscribe struct {
	ID            ID
	Properties    Properties // 5.0 only
	Subscriptions []Subscription
}

// Subscription is a topic filter with its options. Before 5.0 there is only
// the QoS.
type Subscription struct {
	Filter            []byte // UTF-8, otherwise unchecked (see package topic)
	QoS               QoS    // maximum QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    RetainHandling
}

// RetainHandling tells when a subscription makes the server send retained
// messages (MQTT 5.0 section 3.8.3.1).
type RetainHandling uint8

// The values of RetainHandling.
const (
	SendRetained      RetainHandling = 0 // whenever the client subscribes
	SendRetainedIfNew RetainHandling = 1 // if the subscription did not exist
	SendNoRetained    RetainHandling = 2
)

const (
	optionNoLocal           = 0b0000_0100
	optionRetainAsPublished = 0b0000_1000
)

// Decode reads the packet.
func (p *Subscribe) Decode(v Version, first byte, body []byte) error {
	if err := CheckFirst(v, first); err != nil {
		return err
	}
	r := reader{v: v, t: SUBSCRIBE, b: body}
	p.ID = r.id()
	p.Properties.read(&r)
	p.Subscriptions = p.Subscriptions[:0]
	if len(r.b) == 0 {
		r.fail(ProtocolError, "MQTT-3.8.3-2", "MQTT-3.8.3-3", "SUBSCRIBE without topic filter")
	}
	for len(r.b) > 0 {
		s := Subscription{Filter: r.str("MQTT-3.8.3-1", "MQTT-3.8.3-1")}
		s.readOptions(&r)
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return r.done()
}

func (s *Subscription) readOptions(r *reader) {
	options := r.byte()
	switch r.v {
	case V31:
		options &= 0b11 // the upper bits are not used (v31 section 3.8)
	case V311:
		if options > 2 {
			r.fail(MalformedPacket, "", "MQTT-3.8.3-4", "requested QoS is none of 0, 1, 2")
		}
	}
	s.QoS = QoS(options & 0b11)
	s.NoLocal = options&optionNoLocal != 0
	s.RetainAsPublished = options&optionRetainAsPublished != 0
	s.RetainHandling = RetainHandling(options >> 4 & 0b11)
	switch {
	case options>>6 != 0:
		r.fail(MalformedPacket, "MQTT-3.8.3-5", "", "reserved bits of the subscription options are set")
	case s.QoS > 2:
		r.fail(ProtocolError, "3.8.3.1", "", "maximum QoS is 3")
	case s.RetainHandling > SendNoRetained:
		r.fail(ProtocolError, "3.8.3.1", "", "retain handling is 3")
	case s.NoLocal && bytes.HasPrefix(s.Filter, []byte("$share/")):
		r.fail(ProtocolError, "MQTT-3.8.3-4", "", "No Local on a shared subscription")
	}
}

func (s *Subscription) options(v Version) byte {
	if v != V5 {
		return byte(s.QoS)
	}
	options := byte(s.QoS) | byte(s.RetainHandling)<<4
	if s.NoLocal {
		options |= optionNoLocal
	}
	if s.RetainAsPublished {
		options |= optionRetainAsPublished
	}
	return options
}

// Append appends the packet to dst.
func (p *Subscribe) Append(dst []byte, v Version) []byte {
	dst = append(dst, firstByte(SUBSCRIBE))
	at := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.ID))
	dst = p.Properties.appendTo(dst, v)
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		dst = append(appendBinary(dst, s.Filter), s.options(v))
	}
	return insertLength(dst, at)
}
