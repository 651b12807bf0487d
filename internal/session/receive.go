package session

import (
	"slices"
	"time"

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
	switch p.QoS {
	case 1:
		l.pending++
	case 2:
		s.need()
		in.Duplicate = !s.received.add(p.ID)
	}
	if p.QoS > 0 && l.Version == packet.V5 && int(l.pending)+s.receiving() > int(s.cfg.ReceiveMaximum) {
		return in, &packet.Fault{Code: packet.ReceiveMaximumExceeded, Clause: "v5/MQTT-3.3.4-7", Detail: "more PUBLISH under way than the receive maximum"}
	}
	return in, nil
}

// receiving is the number of QoS 2 exchanges from the client.
func (s *Session) receiving() int {
	if s.flow == nil {
		return 0
	}
	return len(s.received)
}

// Acknowledge appends the PUBACK or PUBREC for a PUBLISH. A code of 0x80 and
// more ends a QoS 2 exchange.
func (s *Session) Acknowledge(out []byte, id packet.ID, qos packet.QoS, code packet.ReasonCode) []byte {
	l := s.Link
	if l == nil {
		return out
	}
	if qos == 1 {
		if l.pending > 0 {
			l.pending--
		}
		return l.ack(out, packet.PUBACK, id, code)
	}
	if code.Failed() && s.flow != nil {
		s.received.remove(id)
	}
	return l.ack(out, packet.PUBREC, id, code)
}

// Ack takes a PUBACK, PUBREC, PUBREL or PUBCOMP from the client and appends
// what it asks for. Acknowledgements of unknown identifiers are answered or
// passed over as the standard says, and never an error.
func (s *Session) Ack(out []byte, p *packet.Ack, now time.Duration) (_ []byte, dropped int) {
	switch p.Type {
	case packet.PUBREL:
		code := packet.Success
		if s.flow == nil || !s.received.remove(p.ID) {
			code = packet.PacketIdentifierNotFound
		}
		return s.Link.ack(out, packet.PUBCOMP, p.ID, code), 0
	case packet.PUBREC:
		return s.pubrec(out, p, now)
	}
	e := s.find(p.ID)
	if e == nil || e.state == unsent ||
		p.Type == packet.PUBACK && e.qos != 1 || p.Type == packet.PUBCOMP && e.state != released {
		return out, 0
	}
	s.end(e)
	return s.Pump(out, now)
}

func (s *Session) pubrec(out []byte, p *packet.Ack, now time.Duration) (_ []byte, dropped int) {
	e := s.find(p.ID)
	switch {
	case e == nil || e.qos != 2 && e.state != released:
		if p.Code.Failed() {
			return out, 0
		}
		return s.Link.ack(out, packet.PUBREL, p.ID, packet.PacketIdentifierNotFound), 0
	case p.Code.Failed():
		s.end(e)
		return s.Pump(out, now)
	}
	if e.state != released {
		e.state = released
		e.entry = entry{qos: 2} // the message is the client's now
	}
	return s.Link.ack(out, packet.PUBREL, p.ID, packet.Success), 0
}

// ids is a small set of packet identifiers, sorted.
type ids []packet.ID

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
	if len(*s) == 0 {
		*s = (*s)[:0]
	}
	return true
}
