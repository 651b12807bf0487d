package session

import (
	"slices"

	"midge/internal/packet"
)

// Inbound is a PUBLISH from the client, ready to be routed.
type Inbound struct {
	Topic     []byte // the topic name, an alias resolved; borrowed
	Duplicate bool   // QoS 2 that was received before: acknowledge it only
}

// Receive takes a PUBLISH from the client. Above QoS 0, Acknowledge must
// follow when the message is safe. The error is a *packet.Fault.
func (s *Session) Receive(p *packet.Publish) (in Inbound, err error) {
	l := s.Link
	if len(p.Properties.SubscriptionIDs) > 0 {
		return in, &packet.Fault{Code: packet.ProtocolError, Clause: "v5/MQTT-3.3.4-6", Detail: "PUBLISH from a client with a subscription identifier"}
	}
	if in.Topic, err = l.resolve(p, s.cfg.TopicAliasMaximum); err != nil {
		return in, err
	}
	if p.QoS == 2 && s.flow != nil && s.received.has(p.ID) {
		in.Duplicate = true
		return in, nil
	}
	if p.QoS > 0 {
		if l.Version == packet.V5 && l.pending >= s.cfg.ReceiveMaximum {
			return in, &packet.Fault{Code: packet.ReceiveMaximumExceeded, Clause: "v5/MQTT-3.3.4-7", Detail: "more PUBLISH under way than the receive maximum"}
		}
		l.pending++
	}
	if p.QoS == 2 {
		s.need()
		s.received.add(p.ID)
	}
	return in, nil
}

// Acknowledge appends the PUBACK or PUBREC for a PUBLISH. A code of 0x80 and
// more ends a QoS 2 exchange.
func (s *Session) Acknowledge(out []byte, id packet.ID, qos packet.QoS, code packet.ReasonCode) []byte {
	l := s.Link
	if qos == 2 && code.Failed() && s.flow != nil {
		s.received.remove(id)
	}
	if l == nil {
		return out
	}
	if qos == 1 || code.Failed() {
		l.settle()
	}
	if qos == 1 {
		return l.ack(out, packet.PUBACK, id, code)
	}
	return l.ack(out, packet.PUBREC, id, code)
}

// CheckAck finds an acknowledgement that is none of the message with its packet
// identifier: a PUBREC of QoS 1, a PUBACK of QoS 2, or a PUBCOMP before PUBREC
// (MQTT 5.0 sections 4.3 and 4.13). The window would stay held for ever. The
// error is a *packet.Fault. Identifiers that are not in use are no fault: an
// earlier connection may have ended between two packets.
func (s *Session) CheckAck(p *packet.Ack) error {
	if p.Type == packet.PUBREL {
		return nil
	}
	e := s.find(p.ID)
	if e == nil || e.state == writing || e.state == void || e.state == unsent && (e.first || p.Type == packet.PUBCOMP) {
		return nil
	}
	detail := ""
	switch {
	case e.qos() == 1 && p.Type != packet.PUBACK:
		detail = p.Type.String() + " for a message of QoS 1"
	case e.qos() == 2 && p.Type == packet.PUBACK:
		detail = "PUBACK for a message of QoS 2"
	case p.Type == packet.PUBCOMP && e.state == published:
		detail = "PUBCOMP before PUBREC"
	default:
		return nil
	}
	clause := "4.8"
	if s.Link.Version == packet.V5 {
		clause = "4.13.1"
	}
	return &packet.Fault{Code: packet.ProtocolError, Clause: s.Link.Version.String() + "/" + clause, Detail: detail}
}

// Ack takes a PUBACK, PUBREC, PUBREL or PUBCOMP from the client and appends
// its answer, if it has one. Acknowledgements of unknown identifiers are answered
// or passed over as the standard says; see CheckAck for those that are wrong. Pump
// sends what there is room for then: the answer may have to wait for the disk, and
// that must not.
func (s *Session) Ack(out []byte, p *packet.Ack) []byte {
	switch p.Type {
	case packet.PUBREL:
		code := packet.PacketIdentifierNotFound
		if s.flow != nil && s.received.remove(p.ID) {
			code = packet.Success
			s.Link.settle()
			if s.Number != 0 {
				s.cfg.Journal.Forgotten(s.Number, p.ID, false)
			}
		}
		return s.Link.ack(out, packet.PUBCOMP, p.ID, code)
	case packet.PUBREC:
		return s.pubrec(out, p)
	}
	e := s.find(p.ID)
	if e == nil || e.state == unsent || e.state == writing ||
		p.Type == packet.PUBACK && e.qos() != 1 || p.Type == packet.PUBCOMP && e.state != released {
		return out
	}
	s.end(e)
	return out
}

func (s *Session) pubrec(out []byte, p *packet.Ack) []byte {
	e := s.find(p.ID)
	if e == nil || e.qos() != 2 || e.state == writing {
		if p.Code.Failed() {
			return out
		}
		return s.Link.ack(out, packet.PUBREL, p.ID, packet.PacketIdentifierNotFound)
	}
	switch e.state {
	case unsent: // the client has it from an earlier connection
		e.state = published
		s.unsent--
	case void:
		e.state = released
		s.unsent--
	}
	if p.Code.Failed() {
		s.end(e)
		return out
	}
	if e.state != released {
		e.state = released
		s.hold(e, nil)
		e.via = nil // the message is the client's now
		if e.key != 0 {
			s.cfg.Journal.Released(s.Number, e.key, e.id)
			s.finished(e.stored())
		}
	}
	return s.Link.ack(out, packet.PUBREL, p.ID, packet.Success)
}

// ids is a small set of packet identifiers, sorted.
type ids []packet.ID

func (s ids) has(id packet.ID) bool {
	_, found := slices.BinarySearch(s, id)
	return found
}

// add reports whether id was new.
func (s *ids) add(id packet.ID) bool {
	i, found := slices.BinarySearch(*s, id)
	if found {
		return false
	}
	*s = slices.Insert(*s, i, id)
	return true
}

// remove reports whether id was there.
func (s *ids) remove(id packet.ID) bool {
	i, found := slices.BinarySearch(*s, id)
	if !found {
		return false
	}
	*s = slices.Delete(*s, i, i+1)
	if len(*s) == 0 && cap(*s) > fewDone {
		*s = nil // a client had many at once; that is rare
	}
	return true
}
