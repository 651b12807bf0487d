package broker

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/topic"
)

// sysTopic tells whether a name is one of the broker's own.
func sysTopic(name []byte) bool {
	return len(name) >= 4 && string(name[:4]) == "$SYS" && (len(name) == 4 || name[4] == '/')
}

// route gives a message to everybody who is to get it. It stores a retained one
// before it looks at routes; see interest. from is the client of this shard
// that published it, if one did. It reports false if the publisher must wait
// before its next message.
func (s *shard) route(m *message.Message, r *route, from *client) (ok bool) {
	ok = true
	s.deliverLocal(r.receivers, m, from)
	if r.shards == 0 && len(r.groups) == 0 {
		return true
	}
	var kept *message.Message
	for set, i := r.shards, 0; set != 0; set, i = set>>1, i+1 {
		if set&1 != 0 && !s.mail(i, m, &kept, letter{}) {
			ok = false
		}
	}
	for _, g := range r.groups {
		if !s.routeGroup(g, m, &kept, 0) {
			ok = false
		}
	}
	return ok
}

// retain stores a retained message. It reports false if there is no room.
func (s *shard) retain(m *message.Message) bool {
	if !m.Retain {
		return true
	}
	if s.b.retained.set(m) {
		return true
	}
	s.count.RefusedRetained++
	return false
}

// handlePublish runs a PUBLISH from a client.
func (s *shard) handlePublish(c *conn, first byte, body []byte) error {
	p := &s.publish
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	s.count.PublishReceived++
	s.count.PublishBytesReceived += uint64(len(p.Payload))
	if p.Retain && s.b.cfg.Limits.RetainedMessages == 0 && c.version == packet.V5 {
		return fault(c.version, packet.RetainNotSupported, "MQTT-3.2.2-14", "", "RETAIN although retained messages are off")
	}
	in, err := c.client.session.Receive(p)
	if err != nil {
		return err
	}
	code := packet.Success
	if !in.Duplicate {
		code = s.accept(c, p, in.Topic)
	}
	s.acknowledge(c, p.ID, p.QoS, code)
	return nil
}

// accept routes a PUBLISH whose topic name is name, and returns what to
// acknowledge it with.
func (s *shard) accept(c *conn, p *packet.Publish, name []byte) packet.ReasonCode {
	cl := c.client
	r := c.route
	known := r != nil && r.name == string(name)
	if !known {
		if code := s.checkTopic(name); code != packet.Success {
			return code
		}
	}
	if !s.b.cfg.Access.Publish(cl.id, name) {
		s.count.RefusedAccess++
		return packet.NotAuthorized
	}
	m := &s.message
	*m = message.Message{
		Topic: name, Payload: p.Payload, Properties: p.Properties.Forward,
		QoS: p.QoS, Retain: p.Retain, Publisher: cl.id,
	}
	if p.Properties.HasExpiry {
		m.Expires = max(s.now+time.Duration(p.Properties.MessageExpiry)*time.Second, 1)
	}
	if !s.retain(m) && p.QoS > 0 && c.version == packet.V5 {
		return packet.QuotaExceeded
	}
	// After retain: see interest.
	if known {
		s.renew(r)
	} else {
		var cached bool
		if r, cached = s.routeOf(name); cached {
			c.route = r
		}
	}
	if r.empty() {
		return packet.NoMatchingSubscribers
	}
	if !s.route(m, r, cl) {
		s.stall(c)
	}
	return packet.Success
}

// checkTopic tells whether clients may publish to a topic at all.
func (s *shard) checkTopic(name []byte) packet.ReasonCode {
	if err := topic.ValidName(name, s.limits); err != nil {
		s.count.RefusedTopics++
		return packet.TopicNameInvalid
	}
	if sysTopic(name) {
		s.count.RefusedAccess++
		return packet.NotAuthorized
	}
	return packet.Success
}

// acknowledge answers a PUBLISH. This is where an acknowledgement will wait
// for the disk.
func (s *shard) acknowledge(c *conn, id packet.ID, qos packet.QoS, code packet.ReasonCode) {
	if qos > 0 && c.client != nil {
		s.send(c, c.client.session.Acknowledge(s.out[:0], id, qos, code))
	}
}
