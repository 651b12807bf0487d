package packet

import "encoding/binary"

// PublishProperties are the properties of a PUBLISH or of a will, sorted by
// what a server does with them.
type PublishProperties struct {
	// Forward holds what receivers get unaltered: payload format indicator,
	// content type, response topic, correlation data and user properties, in
	// wire form and in their order, without a length in front (MQTT-3.3.2-4,
	// -15 to -18, -20). After Decode it is borrowed: from the body, or from the
	// struct if the body mixes them with other properties; so it ends with the
	// next Decode, too.
	Forward []byte

	// PayloadFormat is the payload format indicator found in Forward, 0 if
	// there is none. Only Decode sets it and encoders ignore it.
	PayloadFormat byte

	HasExpiry       bool
	MessageExpiry   uint32   // seconds, if HasExpiry
	TopicAlias      uint16   // 0 if there is none
	SubscriptionIDs []uint32 // towards clients only

	gathered []byte // Forward's memory where the body has it in pieces
}

// AppendForward appends what receivers get unaltered.
func (p *PublishProperties) AppendForward(dst []byte) []byte { return append(dst, p.Forward...) }

func (p *PublishProperties) reset() {
	p.Forward = nil
	p.PayloadFormat = 0
	p.HasExpiry, p.MessageExpiry = false, 0
	p.TopicAlias = 0
	p.SubscriptionIDs = p.SubscriptionIDs[:0]
}

// decode reads properties in wire form. willDelay is nil for those of a
// PUBLISH; for those of a will it gets the Will Delay Interval.
func (p *PublishProperties) decode(t Type, wire []byte, willDelay *uint32) error {
	p.reset()
	if len(wire) == 0 {
		return nil
	}
	in := inPublish
	if willDelay != nil {
		in = inWill
	}
	r := reader{v: V5, t: t, b: wire}
	var seen uint64
	pieces := 0 // of Forward
	end := 0    // of its last piece
	for len(r.b) > 0 && r.err == nil {
		start := len(wire) - len(r.b)
		if p.readOne(&r, in, &seen, willDelay) {
			stop := len(wire) - len(r.b)
			switch {
			case pieces == 0:
				p.Forward = wire[start:stop:stop]
				pieces = 1
			case pieces == 1 && start == end:
				p.Forward = wire[end-len(p.Forward) : stop : stop]
			default:
				if pieces == 1 {
					p.gathered = append(p.gathered[:0], p.Forward...)
				}
				p.gathered = append(p.gathered, wire[start:stop]...)
				p.Forward = p.gathered
				pieces = 2
			}
			end = stop
		}
	}
	return r.err
}

// readOne reads a property and reports whether it is one that receivers get
// unaltered.
func (p *PublishProperties) readOne(r *reader, in types, seen *uint64, willDelay *uint32) (forward bool) {
	id := readPropertyID(r, in, seen)
	if r.err != nil {
		return false
	}
	switch id {
	case PropMessageExpiry:
		p.HasExpiry, p.MessageExpiry = true, r.uint32()
	case PropTopicAlias:
		p.TopicAlias = uint16(properties[id].notZero(r, uint32(r.uint16())))
	case PropSubscriptionID:
		p.SubscriptionIDs = append(p.SubscriptionIDs, properties[id].notZero(r, r.varint()))
	case PropWillDelay:
		*willDelay = r.uint32()
	case PropPayloadFormat:
		p.PayloadFormat = readFlag(r, id)
		return true
	case PropCorrelationData:
		r.binary()
		return true
	case PropUser:
		readUser(r)
		return true
	default: // PropContentType, PropResponseTopic
		readPropertyString(r, id)
		return true
	}
	return false
}

// size is the number of bytes that appendTo appends.
func (p *PublishProperties) size() int {
	n := len(p.Forward)
	if p.HasExpiry {
		n += 5
	}
	if p.TopicAlias != 0 {
		n += 3
	}
	for _, id := range p.SubscriptionIDs {
		n += 1 + varintSize(int(id))
	}
	return n
}

func (p *PublishProperties) appendTo(dst []byte) []byte {
	if p.HasExpiry {
		dst = binary.BigEndian.AppendUint32(append(dst, byte(PropMessageExpiry)), p.MessageExpiry)
	}
	if p.TopicAlias != 0 {
		dst = binary.BigEndian.AppendUint16(append(dst, byte(PropTopicAlias)), p.TopicAlias)
	}
	dst = appendSubscriptionIDs(dst, p.SubscriptionIDs)
	return append(dst, p.Forward...)
}
