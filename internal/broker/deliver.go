package broker

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/session"
)

func sessionConfig(cfg Config) session.Config {
	l, c := &cfg.Limits, &cfg.Session
	policy := session.DropOldest
	if c.RefuseNew {
		policy = session.RefuseNew
	}
	return session.Config{
		ReceiveMaximum: uint16(c.ReceiveMaximum), MaxInflight: uint16(c.Inflight),
		TopicAliasMaximum: uint16(l.TopicAliases), AliasesOut: uint16(l.TopicAliases),
		QueueMessages: max(c.QueuedMessages, 0), QueueBytes: c.QueuedBytes, QueuePolicy: policy,
		StoredMessages: max(c.StoredMessages, 0), StoredBytes: c.StoredBytes,
	}
}

// lend begins the delivery of a message: frames and a kept copy are shared by
// all that get it from this shard.
func (s *shard) lend(m *message.Message) {
	s.frames.reset()
	s.keeper = session.Keeper{Borrowed: m}
}

// enqueue gives a message that was lent to a session, which sends it or keeps
// it. ids must not change afterwards. key and sole count for sessions that are
// stored.
func (s *shard) enqueue(cl *client, m *message.Message, qos packet.QoS, retain bool, ids []uint32, g *group, key message.Key, sole bool) {
	c := cl.online()
	if c != nil && c.net.Pending() > s.b.cfg.Limits.PendingBytes {
		if qos == 0 {
			s.count.DroppedSlow++
			return
		}
		s.hold(c)
	}
	d := session.Delivery{Message: &s.keeper, QoS: qos, Retain: retain, SubscriptionIDs: ids}
	if g != nil {
		d.Group = g
	}
	if qos > 0 && cl.stored() {
		d.Key, d.Sole = key, sole
	}
	out, outcome, dropped := cl.session.Deliver(s.out[:0], d, s.now)
	s.count.DroppedQueue += uint64(dropped)
	switch outcome {
	case session.Away:
		s.count.DroppedAway++
	case session.Expired:
		s.count.DroppedExpired++
	case session.TooLarge:
		s.count.DroppedSize++
	case session.Full:
		s.count.DroppedQueue++
	}
	if c != nil {
		s.send(c, out)
	}
	s.tend(cl)
}

// countDrops counts what a session dropped when it was about to send it.
func (s *shard) countDrops(d session.Drops) {
	s.count.DroppedExpired += uint64(d.Expired)
	s.count.DroppedSize += uint64(d.TooLarge)
}

// hold keeps QoS 1 and 2 messages for a slow reader in its session until it
// has caught up. One that is far behind is disconnected: what is pending then
// are packets that it asked for itself and does not read.
func (s *shard) hold(c *conn) {
	if c.pace == inTime {
		c.pace, c.slowSince = slow, uint32(s.now/tick)
		c.client.session.Link.Hold = true
		s.held = append(s.held, c)
		s.timers.start(&c.timer, s.due(c))
	}
}

// slowPatience is how long a client may go without catching up before it is
// disconnected. A working network drains the bytes that may be pending in far
// less.
const slowPatience = 30 * time.Second

// release lets those go on whose output the kernel took at the end of the last
// turn: Drained tells only of what it did not take. It reports whether another
// turn is needed to find out.
func (s *shard) release() (more bool) {
	wait := s.held[:0]
	for _, c := range s.held {
		switch {
		case c.closing || c.pace == inTime:
		case c.net.Pending() == 0:
			c.pace = inTime
			s.pump(c)
		case c.pace == slow: // held in this turn, nothing is written yet
			c.pace = looked
			wait = append(wait, c)
		default:
			c.pace = slow // Drained will come
		}
	}
	clear(s.held[len(wait):])
	s.held = wait
	return len(wait) > 0
}

// overdue disconnects a client that makes the broker pile up output: it reads
// nothing and goes on asking.
func (s *shard) overdue(c *conn) bool {
	if c.closing || c.net.Pending() <= 2*s.b.cfg.Limits.PendingBytes {
		return false
	}
	s.count.SlowDisconnects++
	s.end(c, packet.QuotaExceeded, "too much output is waiting for the client")
	return true
}

// pump sends what a session may send now.
func (s *shard) pump(c *conn) {
	cl := c.client
	cl.session.Link.Hold = false
	out, dropped := cl.session.Pump(s.out[:0], s.now)
	s.countDrops(dropped)
	s.send(c, out)
	s.tend(cl)
}

// handleAck runs a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (s *shard) handleAck(c *conn, first byte, body []byte) error {
	p := &s.ack
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	cl := c.client
	if err := cl.session.CheckAck(p); err != nil {
		return err
	}
	out, dropped := cl.session.Ack(s.out[:0], p, s.now)
	s.countDrops(dropped)
	if cl.stored() && (p.Type == packet.PUBREL || p.Type == packet.PUBREC && !p.Code.Failed()) && len(out) > 0 {
		// The client forgets what it is told to; so a crash must not undo what
		// made us say so. A PUBREC that refuses is told nothing: what it made
		// room for must not wait, or later messages overtake it.
		s.promiseBytes(c, out)
	} else {
		s.send(c, out)
	}
	s.tend(cl)
	return nil
}

// room tells whether a client can take more retained messages now.
func (s *shard) room(cl *client) bool {
	return cl.conn.net.Pending() < s.b.cfg.Limits.PendingBytes/2 && cl.session.Waiting() <= s.session.MostWaiting(cl.stored())/2
}
