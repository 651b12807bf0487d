package broker

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
)

// conn is a network connection, before and after CONNECT. A shard holds at
// least one for each client, so it is kept small and has no buffers.
//
// Its fields fill 96 bytes; one more byte would cost 16.
type conn struct {
	net       engine.Conn
	client    *client // nil before CONNECT
	route     *route  // of the last topic that was published to
	timer     timer   // before CONNECT: its deadline; after it: keep-alive
	heard     uint32  // when the last packet came, in ticks of the wheel, rounded up
	kept      uint32  // bytes that Data left unused; see keepRest
	keepAlive uint16  // in force, seconds; 0: none
	version   packet.Version
	pace      pace
	apart     bool // it takes topic aliases or only small packets, so that it can't get the same bytes as others
	closing   bool // nothing is read or sent any more
	waits     waits
	passage   passage
}

// pace tells how a client keeps up with its messages.
type pace uint8

const (
	inTime pace = iota
	slow        // QoS 1 and 2 wait in the session until Drained
	looked      // slow, and release has looked at it once
)

// waits are the reasons why a connection is paused: nothing is read from it
// before the last of them has ended. The engine keeps what has arrived, one
// buffer at most, and offers it then.
type waits uint8

const (
	forAnswer  waits = 1 << iota // CONNECT has no answer; nothing is sent either. See connecting
	forRoom                      // a publisher, for mailboxes or the disk; see shard.stall
	forTurn                      // it has used up its work in this turn; see turnWork
	forWalk                      // it is owed retained messages; see walker
	forLetters                   // UNSUBSCRIBE, for what was routed before it; see afterLetters
	forMemory                    // the rest of a packet; see arrivals
)

// pause stops reading from a connection, for a reason.
func (s *shard) pause(c *conn, why waits) {
	c.waits |= why
	c.net.Pause()
}

// resume ends a reason for a pause. The client's silence counts from the end of
// the last, for nobody has listened to it.
func (s *shard) resume(c *conn, why waits) {
	if c.closing || c.waits&why == 0 {
		return
	}
	if c.waits &^= why; c.waits == 0 {
		c.hear(s.now)
		c.net.Resume()
	}
}

// hear takes note of a packet.
func (c *conn) hear(now time.Duration) { c.heard = uint32(now/tick) + 1 }

// most is the client's Maximum Packet Size, in bytes.
func (s *shard) most(c *conn) int {
	most := uint32(0)
	switch {
	case c.client != nil && c.client.session.Link != nil:
		most = c.client.session.Link.MaxPacket()
	case c.version == packet.V5: // s.connect is being refused
		most = s.connect.Properties.MaximumPacketSize
	}
	return int(cmp.Or(most, packet.MaxSize))
}

// patience is how long the client may be silent (MQTT-3.1.2-22); 0: for ever.
func (c *conn) patience() time.Duration { return time.Duration(c.keepAlive) * time.Second * 3 / 2 }

// connOf finds what Open made for a network connection.
func connOf(n engine.Conn) *conn { return n.Attached().(*conn) }

// Open implements engine.Shard.
func (s *shard) Open(n engine.Conn) {
	s.tell()
	var c *conn
	var j *connecting // its CONNECT, if that was read elsewhere
	switch attached := n.Attached().(type) {
	case *conn:
		c = attached
	case *connecting:
		j, c = attached, attached.c
		n.Attach(c)
	}
	moved := c != nil
	if !moved {
		c = &conn{}
		c.timer.owner = c
		s.timers.start(&c.timer, s.now+s.settings.Limits.ConnectTimeout)
		n.Attach(c)
		s.count.Accepted++
	} else {
		s.timers.start(&c.timer, time.Duration(c.timer.due)*tick) // the deadline stays
	}
	c.net = n
	s.count.Connections++
	s.charge(connBytes)
	s.unconnected[c] = struct{}{}
	if j != nil {
		s.joining[c] = j
		s.proceed(c)
	}
	if moved {
		return
	}
	c.passage = s.b.gate.enter(c, &s.settings.Limits)
	switch {
	case c.passage != entered:
		s.turnAway(c)
	case s.b.stopping.Load():
		s.timers.start(&c.timer, s.now+refusalTime)
	}
}

// Closed implements engine.Shard.
func (s *shard) Closed(n engine.Conn, err error) {
	s.tell()
	c := connOf(n)
	s.abandon(c, true, endOf(err))
	s.count.Connections--
}

// endOf says in words how a connection ended that the broker did not close.
func endOf(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return "the peer closed the connection without DISCONNECT"
	}
	return "the connection was lost: " + err.Error()
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

// abandon forgets a connection that is closing or closed. will tells whether
// its will is to be published, why is for the log.
func (s *shard) abandon(c *conn, will bool, why string) {
	if c.closing {
		return
	}
	c.closing, s.intact = true, false
	s.forgetInput(c)
	s.b.gate.leave(c) // what still lingers counts no more
	s.timers.stop(&c.timer)
	delete(s.unconnected, c)
	delete(s.joining, c)
	delete(s.behind, c)
	cl := c.client
	if cl == nil {
		s.logEnd(c, why)
		return
	}
	if s.logsConnections() {
		s.logConnection(clientDisconnect, cl.id, slog.String("reason", why))
	}
	c.client, c.route = nil, nil
	s.detach(cl, will)
}

// Data implements engine.Shard.
func (s *shard) Data(n engine.Conn, b []byte) (used int) {
	s.tell()
	c := connOf(n)
	defer s.guard(c, &used, len(b))
	used = s.runPackets(c, b)
	if rest := len(b) - used; rest != int(c.kept) || rest > smallBytes {
		s.keepRest(c, b[used:], used > 0)
	}
	return used
}

// runPackets runs the packets that b begins with.
func (s *shard) runPackets(c *conn, b []byte) (used int) {
	for most := s.allowance(); used < len(b) && !c.closing && c.waits == 0; {
		if s.work >= most {
			s.yield(c)
			break
		}
		s.intact, s.first = true, b[used]
		limit := s.settings.packetSize
		if c.client == nil {
			if s.joining[c] != nil { // it has sent more, which we don't pile up
				s.pause(c, forAnswer)
				break
			}
			if packet.TypeOf(b[used]) != packet.CONNECT {
				s.fault(c, &packet.Fault{Code: packet.ProtocolError, Clause: "v5/MQTT-3.1.0-1", Detail: "the first packet is not CONNECT"})
				return len(b)
			}
			limit = s.settings.connectSize
		}
		first, body, size, err := packet.Split(b[used:], limit)
		if err != nil && c.client != nil { // it may have been offered more than clients are now
			first, body, size, err = packet.Split(b[used:], c.client.session.Link.Offer().MaximumPacketSize)
		}
		if err == nil && size == 0 && c.client != nil {
			err = packet.CheckFirst(c.version, first)
		}
		if err != nil {
			s.fault(c, err)
			return len(b)
		}
		if size == 0 {
			break
		}
		if s.shut && packet.TypeOf(first) == packet.PUBLISH {
			s.pause(c, forRoom)
			s.unserved = append(s.unserved, c)
			s.count.PausedPublishers++
			s.count.PausedMemory++
			break
		}
		s.charge(2 * size) // what it was gathered in has grown to that size
		if c.client == nil {
			if !s.join(c, first, body) {
				return used
			}
		} else if err := s.handle(c, first, body); err != nil {
			s.fault(c, err)
			return len(b)
		}
		used += size
		s.work++
		s.count.PacketsReceived++
		s.count.BytesReceived += uint64(size)
		c.hear(s.now)
		if c.client == nil { // CONNECT waits, or was refused
			break
		}
		if s.overdue(c) {
			return len(b)
		}
	}
	if c.closing {
		return len(b)
	}
	return used
}

// handle runs a packet from a client that is connected.
func (s *shard) handle(c *conn, first byte, body []byte) error {
	switch packet.TypeOf(first) {
	case packet.PUBLISH:
		return s.handlePublish(c, first, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return s.handleAck(c, first, body)
	case packet.SUBSCRIBE:
		return s.handleSubscribe(c, first, body)
	case packet.UNSUBSCRIBE:
		return s.handleUnsubscribe(c, first, body)
	case packet.PINGREQ:
		if err := (packet.Pingreq{}).Decode(c.version, first, body); err != nil {
			return err
		}
		s.send(c, packet.Pingresp{}.Append(s.out[:0], c.version))
		return nil
	case packet.DISCONNECT:
		return s.handleDisconnect(c, first, body)
	case packet.AUTH:
		if err := s.auth.Decode(c.version, first, body); err != nil {
			return err
		}
		return fault(c.version, packet.ProtocolError, "MQTT-4.12.0-6", "3.15", "AUTH although CONNECT had no authentication method")
	case packet.CONNECT:
		return fault(c.version, packet.ProtocolError, "MQTT-3.1.0-2", "MQTT-3.1.0-2", "a second CONNECT")
	}
	if err := packet.CheckFirst(c.version, first); err != nil {
		return err
	}
	return fault(c.version, packet.ProtocolError, "4.13.1", "4.8", packet.TypeOf(first).String()+" from a client")
}

// fault returns a fault with the clause of the version that the client speaks.
func fault(v packet.Version, code packet.ReasonCode, id5, id311, detail string) error {
	clause := id5
	if v != packet.V5 {
		clause = id311
	}
	return &packet.Fault{Code: code, Clause: v.String() + "/" + clause, Detail: detail}
}

// fault ends a connection because of a violation.
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

// end tells the client why, as far as its version can, and the log, and closes.
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
	s.note(c, level, clientClosed, c.client.id, code, reason, clause)
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
		s.send(c, d.AppendWithin(s.out[:0], c.version, s.most(c)))
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

// expire implements expirer: CONNECT did not come in time, or the client has
// been silent too long.
func (c *conn) expire(s *shard) {
	if c.client == nil {
		s.expireUnconnected(c)
		return
	}
	if s.stuck(c) {
		s.count.SlowDisconnects++
		s.end(c, packet.QuotaExceeded, "the client has read nothing for too long")
		return
	}
	if due := s.due(c); due > s.now {
		if due == forever {
			return
		}
		s.timers.start(&c.timer, due)
		return
	}
	s.count.KeepAliveTimeouts++
	s.endFor(c, packet.KeepAliveTimeout, "silent for longer than one and a half times its Keep Alive", keepAliveClause(c.version))
}

// expireUnconnected is expire before CONNECT is answered.
func (s *shard) expireUnconnected(c *conn) {
	j := s.joining[c]
	switch {
	case j != nil && j.queued:
		s.endWait(j)
	case c.passage != entered:
		s.closeUnanswered(c)
	case j != nil:
		s.count.ConnectTimeouts++
		s.reread(j)
		s.refuse(c, packet.ServerUnavailable, "nobody has decided within limits.connect_timeout whether it may connect")
	default:
		s.count.ConnectTimeouts++
		s.note(c, slog.LevelInfo, clientRefused, "", packet.MaximumConnectTime, "no complete CONNECT within limits.connect_timeout", "")
		s.close(c, "no CONNECT in time")
	}
}

// keepAliveClause is where a version asks for the end of silent connections.
func keepAliveClause(v packet.Version) string {
	switch v {
	case packet.V5:
		return "v5/MQTT-3.1.2-22"
	case packet.V311:
		return "v311/MQTT-3.1.2-24"
	}
	return "v31/3.1"
}

// due is when a client has been silent or slow for too long.
func (s *shard) due(c *conn) time.Duration {
	due := forever
	switch {
	case c.keepAlive > 0 && c.waits != 0: // we don't listen, so its silence says nothing
		due = s.now + c.patience()
	case c.keepAlive > 0:
		due = time.Duration(c.heard)*tick + c.patience()
	}
	if c.pace != inTime {
		due = min(due, s.behind[c].look)
	}
	return due
}

func (c *conn) name() string {
	if c.client == nil {
		return ""
	}
	return c.client.id
}

func (s *shard) handleDisconnect(c *conn, first byte, body []byte) error {
	d := &s.disconnect
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
