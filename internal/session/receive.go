package session

import "midge/internal/packet"

// Inbound is a PUBLISH from the client, ready to be routed.
type Inbound struct {
	Topic     []byte // the topic name, an alias resolved; borrowed
	Duplicate bool   // QoS 2 that was received before: acknowledge it only
}

// Receive takes a PUBLISH from the client. Above QoS 0, Acknowledge must
// follow when the message is safe. A QoS 2 message that awaits PUBREL is not
// routed again (MQTT-4.3.3-10); a QoS 1 message is a new one, whatever DUP says
// (MQTT-4.3.2-5). The error is a *packet.Fault: a subscription identifier
// (MQTT-3.3.4-6), a topic alias that is not valid (MQTT-3.3.2-9), more than the
// Receive Maximum (MQTT-3.3.4-7).
func (s *Session) Receive(p *packet.Publish) (in Inbound, err error) {
	l := s.Link
	if len(p.Properties.SubscriptionIDs) > 0 {
		return in, &packet.Fault{Code: packet.ProtocolError, Clause: "v5/MQTT-3.3.4-6", Detail: "PUBLISH from a client with a subscription identifier"}
	}
	if in.Topic, err = l.resolve(p); err != nil {
		return in, err
	}
	if p.QoS == 2 && s.flow != nil && s.received.has(p.ID) {
		in.Duplicate = true
		return in, nil
	}
	if p.QoS > 0 {
		if l.Version == packet.V5 && l.received >= l.terms.offer.ReceiveMaximum {
			return in, &packet.Fault{Code: packet.ReceiveMaximumExceeded, Clause: "v5/MQTT-3.3.4-7", Detail: "more PUBLISH in flight than the receive maximum"}
		}
		l.received++
	}
	if p.QoS == 2 {
		s.need()
		s.received.add(p.ID)
	}
	return in, nil
}

// TopicOf is the topic name that a PUBLISH has, by itself or by an alias; nil if its alias was
// not set. It changes nothing.
func (s *Session) TopicOf(p *packet.Publish) []byte {
	if len(p.Topic) > 0 || p.Properties.TopicAlias == 0 {
		return p.Topic
	}
	return s.Link.terms.in[p.Properties.TopicAlias]
}

// Acknowledge appends the PUBACK or PUBREC for a PUBLISH (MQTT-4.3.2-4,
// MQTT-4.3.3-8). A code of 0x80 and more ends a QoS 2 exchange (MQTT-4.3.3-9).
func (s *Session) Acknowledge(out []byte, id packet.ID, qos packet.QoS, code packet.ReasonCode) []byte {
	l := s.Link
	if qos == 2 && code.Failed() && s.flow != nil {
		s.received.remove(id)
	}
	if l == nil {
		return out
	}
	if qos == 1 || code.Failed() {
		l.returnQuota()
	}
	if qos == 1 {
		return l.ack(out, packet.PUBACK, id, code)
	}
	return l.ack(out, packet.PUBREC, id, code)
}

// Forget takes back that a QoS 2 message from the client was received.
func (s *Session) Forget(id packet.ID) {
	if s.flow != nil {
		s.received.remove(id)
	}
}

// Ack takes a PUBACK, PUBREC, PUBREL or PUBCOMP from the client and appends
// its answer, if it has one. Acknowledgements of identifiers that are not in use
// are answered or passed over as the standard says: an earlier connection may
// have ended between two packets. The error is a *packet.Fault; see takes. Pump
// sends what there is room for then: the answer may have to wait for the disk,
// and that must not.
func (s *Session) Ack(out []byte, p *packet.Ack) ([]byte, error) {
	if p.Type == packet.PUBREL {
		return s.pubrel(out, p.ID), nil
	}
	var e *exchange
	if s.flow != nil {
		e = s.inflight.find(p.ID)
	}
	switch {
	case e != nil && !e.takes(p.Type):
		return out, s.wrong(e, p.Type)
	case p.Type == packet.PUBREC:
		return s.pubrec(out, e, p), nil
	case e != nil && (e.state == awaitAck || e.state == awaitPubcomp):
		s.acknowledged(e)
	}
	return out, nil
}

// acknowledged ends an exchange (MQTT-4.3.2-3, MQTT-4.3.3-5, MQTT-4.4.0-2).
func (s *Session) acknowledged(e *exchange) {
	s.end(e)
	s.inflight.compact()
}

// takes reports whether an acknowledgement may be one of the message with its
// packet identifier. A PUBREC of QoS 1, a PUBACK of QoS 2 and a PUBCOMP before
// PUBREC are none (MQTT 5.0 sections 4.3 and 4.13): the window would stay held
// for ever. Of a message that was not sent on this connection, the client may
// know nothing.
func (e *exchange) takes(t packet.Type) bool {
	switch e.state {
	case committing, contentLost:
		return true
	case unsent:
		if e.neverSent || t == packet.PUBCOMP {
			return true
		}
	}
	if e.qos() == 1 {
		return t == packet.PUBACK
	}
	return t == packet.PUBREC || t == packet.PUBCOMP && e.state != awaitAck
}

// wrong is the fault of an acknowledgement that a message does not take.
func (s *Session) wrong(e *exchange, t packet.Type) error {
	detail := "PUBCOMP before PUBREC"
	switch {
	case e.qos() == 1:
		detail = t.String() + " for a message of QoS 1"
	case t == packet.PUBACK:
		detail = "PUBACK for a message of QoS 2"
	}
	clause := "4.8"
	if s.Link.Version == packet.V5 {
		clause = "4.13.1"
	}
	return &packet.Fault{Code: packet.ProtocolError, Clause: s.Link.Version.String() + "/" + clause, Detail: detail}
}

// pubrel ends the exchange of a message from the client (MQTT-4.3.3-11, -12).
func (s *Session) pubrel(out []byte, id packet.ID) []byte {
	code := packet.PacketIdentifierNotFound
	if s.flow != nil && s.received.remove(id) {
		code = packet.Success
		s.Link.returnQuota()
		if s.Number != 0 {
			s.cfg.Journal.Forget(s.Number, id, false)
		}
	}
	return s.Link.ack(out, packet.PUBCOMP, id, code)
}

// pubrec makes a message the client's: PUBREL follows, and no PUBLISH any more
// (MQTT-4.3.3-4, -6).
func (s *Session) pubrec(out []byte, e *exchange, p *packet.Ack) []byte {
	if e == nil || e.qos() != 2 || e.state == committing {
		if p.Code.Failed() {
			return out
		}
		return s.Link.ack(out, packet.PUBREL, p.ID, packet.PacketIdentifierNotFound)
	}
	if p.Code.Failed() {
		s.acknowledged(e)
		return out
	}
	if e.state == unsent || e.state == awaitAck { // unsent: the client has it from an earlier connection
		s.inflight.setContent(e, nil)
		e.via = nil // nobody else may get it now
		if e.key != 0 {
			s.cfg.Journal.AwaitPubcomp(s.Number, e.key, e.id)
			s.finish(e.stored())
		}
	}
	s.inflight.setState(e, awaitPubcomp)
	return s.Link.ack(out, packet.PUBREL, p.ID, packet.Success)
}
