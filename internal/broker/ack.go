package broker

import (
	"midge/internal/packet"
)

// acknowledge answers a PUBLISH: at once, or once everything is on disk that
// was written so far. Acknowledgements keep the order of the messages
// (MQTT-4.6.0-2, -3).
func (s *shard) acknowledge(c *conn, id packet.ID, qos packet.QoS, code packet.ReasonCode, onDisk bool) {
	switch {
	case qos == 0 || c.client == nil:
	case onDisk, s.disk.promises.acknowledges(c):
		s.promise(promise{c: c, id: id, qos: qos, code: code})
	default:
		s.send(c, c.client.session.Acknowledge(s.out[:0], id, qos, code))
	}
}

// answerAck sends PUBREL or PUBCOMP, if there is any in out (MQTT-4.3.3-4,
// MQTT-4.3.3-11). The client forgets then
// what it has received; so a crash must not undo what made us say so.
func (s *shard) answerAck(c *conn, out []byte) {
	switch {
	case len(out) == 0:
	case c.client.stored():
		s.promiseBytes(c, out)
	default:
		s.send(c, out)
	}
}

// handleAck runs a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (s *shard) handleAck(c *conn, first byte, body []byte) error {
	p := &s.packets.ack
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	cl := c.client
	s.intact = false
	out, err := cl.session.Ack(s.out[:0], p)
	if err != nil {
		return err
	}
	s.answerAck(c, out)
	if c.pace == inTime && cl.session.Pending() {
		s.pump(c)
	} else {
		s.serve(cl)
	}
	return nil
}
