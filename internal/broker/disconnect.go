package broker

import (
	"errors"
	"io"
	"log/slog"

	"midge/internal/packet"
)

// detach is what follows the end of a client's network connection. will: it was
// not ended in order, and the will is to be published (MQTT-3.1.2-8).
func (s *shard) detach(cl *client, will bool) {
	cl.conn = nil
	s.count.Connected--
	s.count.Disconnected++
	cl.session.Detach()
	s.stopWalking(cl)
	s.setOnline(cl, false)
	if !will {
		s.setWill(cl, nil) // MQTT-3.1.2-10
	}
	if cl.expiry == 0 {
		s.endSession(cl)
		return
	}
	s.writeSession(cl, s.now)
	s.leave(cl, s.now)
	if w := cl.will(); w != nil && w.delay == 0 {
		s.publishWill(cl)
	}
	s.arm(cl.away)
}

// fault ends a connection because of a violation (MQTT-4.13.1-1).
func (s *shard) fault(c *conn, err error) {
	if c.closing {
		return
	}
	f := &packet.Fault{Code: packet.UnspecifiedError, Clause: "", Detail: err.Error()}
	errors.As(err, &f)
	s.count.Faults++
	if f.Code == packet.PacketTooLarge {
		s.count.RefusedSize++
	}
	s.endFor(c, f.Code, f.Detail, f.Clause)
}

// end closes a connection. The client gets the reason, as far as its version can, and so does the log.
func (s *shard) end(c *conn, code packet.ReasonCode, reason string) { s.endFor(c, code, reason, "") }

// endFor is end with the clause of the standard that asks for it, "" for none.
func (s *shard) endFor(c *conn, code packet.ReasonCode, reason, clause string) {
	if c.closing {
		return
	}
	if c.client == nil {
		s.refuseFor(c, code, reason, clause)
		return
	}
	// Nobody did wrong, and the code says it all.
	usual := code == packet.SessionTakenOver || code == packet.KeepAliveTimeout || code == packet.ServerShuttingDown
	level := slog.LevelWarn
	if usual {
		level = slog.LevelInfo
	}
	s.note(c, line{level, clientClosed, c.client.id, "", code, reason, clause})
	switch {
	case c.waits&forAnswer != 0:
		s.answerEnd(c, code, reason)
		return
	case c.version == packet.V5:
		d := packet.Disconnect{Code: code}
		if !usual && reason != "" && c.client.session.ProblemInformation() {
			d.Properties.ReasonString = []byte(reason)
			d.Properties.Set(packet.PropReasonString)
		}
		s.send(c, d.AppendWithin(s.out[:0], c.version, s.maxPacket(c)))
	}
	s.close(c, reason)
}

// answerEnd is the end of a connection whose CONNACK waits for the disk: it
// becomes one that refuses, if it has a word for the reason. A will that was
// refused is none (MQTT 5.0 section 3.1.2.5).
func (s *shard) answerEnd(c *conn, code packet.ReasonCode, reason string) {
	will := true
	ack := packet.Connack{Code: code}
	switch code {
	case packet.QuotaExceeded: // the disk has failed
		will = false
		if c.version != packet.V5 {
			ack.Code = packet.ServerUnavailable
		}
	case packet.AdministrativeAction: // it is banned
		will, ack.Code = false, packet.Banned
	case packet.ServerShuttingDown:
		ack.Code = packet.ServerUnavailable
	default:
		s.close(c, reason)
		return
	}
	s.send(c, ack.Append(s.out[:0], c.version)) // five bytes: smaller than the one that it stands for
	c.net.Close()
	s.abandon(c, will, reason)
}

// close closes a connection. A client's session is detached, with its will, if
// that has not been done. why is for the log.
func (s *shard) close(c *conn, why string) {
	if c.closing {
		return
	}
	c.net.Close()
	s.abandon(c, true, why)
}

// abandon forgets a connection that is closing or closed. will:
// its will is to be published. why is for the log.
func (s *shard) abandon(c *conn, will bool, why string) {
	if c.closing {
		return
	}
	c.closing, s.intact = true, false
	s.forgetInput(c)
	s.b.gate.leave(c) // what still lingers counts no more
	s.timers.stop(&c.timer)
	s.handshakes.forget(c)
	s.disk.promises.forget(c)
	delete(s.slow.lagging, c)
	s.forgetLapse(c)
	s.forgetAuthentication(c)
	cl := c.client
	if cl == nil {
		s.logEnd(c, why)
		return
	}
	if s.logsConnections() {
		s.logConnection(clientDisconnect, cl.id, slog.String("reason", why))
	}
	s.forgetMeter(c)
	c.client, c.route = nil, nil
	s.detach(cl, will)
}

// handleDisconnect runs a DISCONNECT: the connection ends, without the will if the
// client says so (MQTT-3.14.4-3), and the session may get another expiry, unless
// it had none (MQTT 5.0 section 3.14.2.2.2).
func (s *shard) handleDisconnect(c *conn, first byte, body []byte) error {
	d := &s.packets.disconnect
	if err := d.Decode(c.version, first, body); err != nil {
		return err
	}
	cl := c.client
	if d.Properties.Has(packet.PropSessionExpiry) {
		if cl.expiry == 0 && d.Properties.SessionExpiry != 0 {
			return fault(c.version, packet.ProtocolError, "MQTT-3.14.2-2", "", "DISCONNECT sets a session expiry although CONNECT did not")
		}
		s.setExpiry(cl, s.capExpiry(d.Properties.SessionExpiry))
	}
	c.net.Close()
	why := ""
	if s.logsConnections() {
		why = "DISCONNECT from the client, " + codeText(d.Code)
	}
	s.abandon(c, d.Code != packet.NormalDisconnection, why)
	return nil
}

// endOf says in words how a connection ended that the broker did not close.
func endOf(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return "the peer closed the connection without DISCONNECT"
	}
	return "the connection was lost: " + err.Error()
}

// refuse answers CONNECT with a failure, if the version has a word for it, and
// closes (MQTT-3.2.2-6, MQTT-3.2.2-7).
func (s *shard) refuse(c *conn, code packet.ReasonCode, reason string) {
	s.refuseFor(c, code, reason, "")
}

// refuseFor is refuse with the clause of the standard that asks for it, "" for
// none.
func (s *shard) refuseFor(c *conn, code packet.ReasonCode, reason, clause string) {
	id, user := "", ""
	if c.version != 0 {
		id, user = string(s.packets.connect.ClientID), string(s.packets.connect.UserName)
	}
	s.note(c, line{slog.LevelWarn, clientRefused, id, user, code, reason, clause})
	if c.version != 0 {
		ack := packet.Connack{Code: code}
		if reason != "" && c.version == packet.V5 {
			ack.Properties.ReasonString = []byte(reason)
			ack.Properties.Set(packet.PropReasonString)
		}
		s.send(c, ack.AppendWithin(s.out[:0], c.version, s.maxPacket(c)))
	}
	s.close(c, reason)
}
