package broker

import (
	"cmp"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
)

// Open implements engine.Shard.
func (s *shard) Open(n engine.Conn) {
	s.readClock()
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
		c = &conn{net: n}
		n.Attach(c)
		s.count.Accepted++
		if s.shutOutBanned(c) {
			s.count.Connections++
			return
		}
		if c.passage = s.b.rates.enter(n, s.settings, s.now); c.passage != entered {
			s.count.Connections++
			s.shutOut(c)
			return
		}
		c.timer.owner = c
		s.timers.start(&c.timer, s.now+s.settings.admit(n).connectTimeout)
	} else {
		s.timers.start(&c.timer, time.Duration(c.timer.due)*tick) // the deadline stays
	}
	c.net = n
	s.count.Connections++
	s.budget.charge(connBytes)
	s.handshakes.open[c] = false
	if j != nil {
		s.handshakes.waiting[c] = j
		s.proceed(c)
	}
	if moved {
		return
	}
	c.passage = s.b.gate.enter(c, s.settings)
	switch {
	case c.passage != entered:
		s.turnAway(c)
	case s.b.stopping.Load():
		s.timers.start(&c.timer, s.now+refusalTime)
	case s.settings.admit(n).byAddress() && !n.Remote().Addr().IsValid():
		s.handshakes.open[c] = true
	}
}

// Closed implements engine.Shard.
func (s *shard) Closed(n engine.Conn, err error) {
	s.readClock()
	c := connOf(n)
	s.abandon(c, true, endOf(err))
	s.count.Connections--
}

// Data implements engine.Shard.
func (s *shard) Data(n engine.Conn, b []byte) (used int) {
	s.readClock()
	c := connOf(n)
	defer s.guard(c, &used, len(b))
	if a := s.settings.admit(n); a.metered {
		used = s.runMetered(c, a, b)
	} else {
		used = s.runPackets(c, a, b)
	}
	if rest := len(b) - used; rest != int(c.buffered) || rest > smallBytes {
		s.keepRest(c, b[used:], used > 0)
	}
	return used
}

// runPackets runs the packets that b begins with.
func (s *shard) runPackets(c *conn, at *admission, b []byte) (used int) {
	for allowed := s.allowance(); used < len(b) && !c.closing && c.waits == 0; {
		if s.work >= allowed {
			s.yield(c)
			break
		}
		s.intact, s.first = true, b[used]
		limit := at.packetSize
		if c.client == nil {
			if !s.readsBefore(c, b[used]) {
				break
			}
			limit = at.connectSize
		}
		first, body, size, err := packet.Split(b[used:], limit)
		if err != nil && c.client != nil { // it may have been offered more than clients are now
			first, body, size, err = packet.Split(b[used:], c.client.session.Link.Offer().MaximumPacketSize)
		}
		if err == nil && size == 0 && c.client != nil {
			err = packet.CheckFirst(c.version, first)
		}
		if err != nil {
			if j := s.handshakes.waiting[c]; j != nil {
				s.reread(j)
			}
			s.fault(c, err)
			return len(b)
		}
		if size == 0 {
			break
		}
		if s.budget.shut && packet.TypeOf(first) == packet.PUBLISH {
			s.pause(c, forRoom)
			s.unserved = append(s.unserved, c)
			s.count.PausedPublishers++
			s.count.PausedMemory++
			break
		}
		s.budget.charge(2 * size) // what it was gathered in has grown to that size
		if c.client == nil {
			if !s.handleBefore(c, first, body) {
				return used
			}
		} else if err := s.handle(c, first, body); err == errAsked {
			break
		} else if err != nil {
			s.fault(c, err)
			return len(b)
		}
		used += size
		s.work++
		s.count.PacketsReceived++
		s.count.BytesReceived += uint64(size)
		c.noteInput(s.now)
		if c.client == nil { // CONNECT waits, or was refused
			if j := s.handshakes.waiting[c]; j != nil && j.challenged() {
				continue
			}
			break
		}
		if s.overdue(c) {
			s.count.SlowDisconnects++
			s.end(c, packet.QuotaExceeded, "too much output is waiting for the client")
			return len(b)
		}
	}
	if c.closing {
		return len(b)
	}
	return used
}

// readsBefore reports whether a connection that is no client's yet is to be read on,
// by the first byte of the next packet: first comes CONNECT (MQTT-3.1.0-1).
func (s *shard) readsBefore(c *conn, first byte) bool {
	if j := s.handshakes.waiting[c]; j != nil {
		return s.answersChallenge(j, first)
	}
	if packet.TypeOf(first) != packet.CONNECT {
		s.fault(c, &packet.Fault{Code: packet.ProtocolError, Clause: "v5/MQTT-3.1.0-1", Detail: "the first packet is not CONNECT"})
		return false
	}
	return true
}

// handleBefore runs a packet of such a connection. It reports false if the packet is
// to be read again, by another shard.
func (s *shard) handleBefore(c *conn, first byte, body []byte) (read bool) {
	if j := s.handshakes.waiting[c]; j != nil {
		s.takeAnswer(j, first, body)
		return true
	}
	return s.join(c, first, body)
}

// runMetered is runPackets for a connection whose listener has limits: it runs the
// packets that are within them, and if more have come the connection waits.
func (s *shard) runMetered(c *conn, a *admission, b []byte) (n int) {
	for again := c.client == nil; again; { // one packet at a time, and then as the client that CONNECT makes
		rest := b[n:]
		ran := s.runPackets(c, a, rest[:min(len(rest), cmp.Or(packet.Announced(rest), len(rest)))])
		n += ran
		j := s.handshakes.waiting[c]
		again = ran > 0 && n < len(b) && !c.closing && j != nil && j.challenged()
	}
	if c.closing {
		return len(b)
	}
	if c.client == nil || c.waits != 0 || n == len(b) {
		return n
	}
	m, rest := s.meterOf(c), b[n:]
	s.timers.stop(&m.timer) // it has waited
	allowed, wait, size := s.allowed(m, a, rest)
	ran := s.runPackets(c, a, rest[:allowed])
	if c.closing {
		return len(b)
	}
	s.take(m, a, rest[:ran])
	if wait > 0 && ran == allowed && c.waits == 0 {
		s.slowDown(m, a, wait, size)
	}
	return n + ran
}

// packets is the memory that packets are decoded into, and answers are made in.
type packets struct {
	publish     packet.Publish
	connect     packet.Connect
	accepted    packet.Connack
	ack         packet.Ack
	subscribe   packet.Subscribe
	suback      packet.Suback
	unsubscribe packet.Unsubscribe
	disconnect  packet.Disconnect
	auth        packet.Auth
	codes       []packet.ReasonCode
}

// handle runs a packet from a client that is connected. PINGREQ is answered here
// (MQTT-3.12.4-1), and a second CONNECT is a violation (MQTT-3.1.0-2).
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
		return s.handleAuth(c, first, body)
	case packet.CONNECT:
		return fault(c.version, packet.ProtocolError, "MQTT-3.1.0-2", "MQTT-3.1.0-2", "a second CONNECT")
	}
	if err := packet.CheckFirst(c.version, first); err != nil {
		return err
	}
	return fault(c.version, packet.ProtocolError, "4.13.1", "4.8", packet.TypeOf(first).String()+" from a client")
}

// expire implements expirer: CONNECT did not come in time, or the client has
// been silent too long.
func (c *conn) expire(s *shard) {
	if c.client == nil {
		s.expireUnconnected(c)
		return
	}
	caughtUp, stuck := s.slow.look(c, s.now)
	if caughtUp {
		s.pump(c)
	}
	if stuck {
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
