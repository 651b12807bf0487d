package broker

import (
	"math/bits"
	"slices"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/settings"
	"midge/internal/store"
)

// route gives a message to everybody who is to get it. It stores a retained one
// before it looks at routes; see interest. from is the client of this shard
// that published it, if one did. It reports false if the publisher must wait
// before its next message.
func (s *shard) route(m *message.Message, r *route, from *client) (ok bool) {
	ok = true
	p := s.plan(m, r)
	s.planned = p
	s.deliverLocal(r.Receivers, m, from, p.key(s.index))
	if r.Shards == 0 && len(r.Groups) == 0 {
		return true
	}
	var packed *message.Parcel
	for set, i := r.Shards, 0; set != 0; set, i = set>>1, i+1 {
		if set&1 != 0 && !s.mail(i, m, &packed, envelope{key: p.key(i)}) {
			ok = false
		}
	}
	for i, g := range r.Groups {
		if !s.routeGroup(g, m, &packed, routing.FromPublisher, s.groupKey(p, i, g)) {
			ok = false
		}
	}
	return ok
}

// plan is how a message is stored.
type plan struct {
	seq    uint64 // 0: it is not
	shards uint64 // those that store receivers
	shared bool   // there are several
	remote bool   // others than this one may store receivers
}

// plan finds out for whom a message must be stored, and stores it if they
// share it. Receivers are stored by their own shards.
func (s *shard) plan(m *message.Message, r *route) (p plan) {
	if m.QoS == 0 || s.b.cfg.Store == nil {
		return p
	}
	p.shards = r.Persisted
	p.remote = p.shards&^(1<<s.index) != 0 || slices.ContainsFunc(r.Groups, (*group).Persists)
	if p.shards == 0 && !p.remote {
		return p
	}
	p.seq = s.b.cfg.Store.NextSeq()
	s.disk.turn() // so that there is a turn to wait for, also if others write all of it
	if n := bits.OnesCount64(p.shards); n > 1 {
		p.shared = true
		s.disk.turn().Share(p.seq, n, m)
		s.disk.turn().Undecided(p.seq, false)
	}
	return p
}

// key is what a shard stores receivers under, 0 if it has none.
func (p *plan) key(shard int) message.Key {
	switch {
	case p.shards&(1<<shard) == 0:
		return 0
	case p.shared:
		return message.NewKey(p.seq, store.PartOfShard(shard))
	}
	return message.NewKey(p.seq, store.PartOwn)
}

// groupKey is what a member of the i-th shared subscription stores the message
// under.
func (s *shard) groupKey(p plan, i int, g *group) message.Key {
	if p.seq == 0 || !g.Persists() {
		return 0
	}
	part, ok := store.PartOfGroup(i)
	if !ok {
		return message.NewKey(s.b.cfg.Store.NextSeq(), store.PartOwn)
	}
	return message.NewKey(p.seq, part)
}

// retain stores a message with RETAIN (MQTT-3.3.1-5), and leaves others alone
// (MQTT-3.3.1-8). It reports false if there is no room.
func (s *shard) retain(m *message.Message) bool {
	if !m.Retain {
		return true
	}
	s.work += setupWork
	if s.b.cfg.Store != nil {
		s.disk.turn() // so that there is a turn to wait for
	}
	if s.b.retained.Set(m, s.now, s.budget.pressure >= SlowPublishers) {
		return true
	}
	s.count.RefusedRetained++
	return false
}

// handlePublish runs a PUBLISH from a client.
func (s *shard) handlePublish(c *conn, first byte, body []byte) error {
	p := &s.packets.publish
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	if who := c.client.Identity(); who != nil && who.Asking != nil && s.asksAboutPublish(c, who.Asking, p) {
		return errAsked
	}
	if s.budget.pressure >= SlowPublishers {
		s.count.PausedMemory++
		s.stall(c)
	}
	s.count.PublishReceived++
	s.count.PublishBytesReceived += uint64(len(p.Payload))
	if p.Retain && !c.client.session.Link.Offer().RetainAvailable && c.version == packet.V5 {
		return fault(c.version, packet.RetainNotSupported, "MQTT-3.2.2-14", "", "RETAIN although retained messages are off")
	}
	s.intact = p.QoS < 2 // Receive remembers the identifier beyond the connection
	in, err := c.client.session.Receive(p)
	if err != nil {
		return err
	}
	if in.Duplicate {
		s.acknowledge(c, p.ID, p.QoS, packet.Success, c.client.stored())
		return nil
	}
	code, onDisk := s.accept(c, p, in.Topic)
	if code.Failed() {
		s.limited(c, code, "PUBLISH: "+s.refusal(code))
		if p.QoS == 2 {
			c.client.session.Forget(p.ID)
		}
	}
	if code == packet.NotAuthorized && c.version != packet.V5 && s.settings.ACL.RefusedPublish == settings.Disconnect {
		return fault(c.version, code, "", "3.3.5", "PUBLISH that the client has no right to: acl.refused_publish")
	}
	if code == packet.QuotaExceeded && c.version != packet.V5 {
		return nil // it can't be refused, and must not think that we have it
	}
	s.acknowledge(c, p.ID, p.QoS, code, onDisk)
	return nil
}

// refusal says in words why a request is answered with a code, for the log.
func (s *shard) refusal(code packet.ReasonCode) string {
	switch {
	case code == packet.NotAuthorized:
		return "the client has no right to it"
	case code == packet.TopicNameInvalid, code == packet.TopicFilterInvalid:
		return "the topic is not valid, over limits.topic_levels or limits.topic_length, or with its mount point over 65,535 bytes"
	case code == packet.QuotaExceeded && s.disk.failing() != nil:
		return "the disk is full or has failed"
	case code == packet.QuotaExceeded:
		return "over a limit"
	}
	return code.String()
}

// accept routes a PUBLISH whose topic name is written as the client has it, and returns what to
// acknowledge it with. onDisk reports whether the acknowledgement must wait until
// everything is on disk that was written so far.
func (s *shard) accept(c *conn, p *packet.Publish, written []byte) (code packet.ReasonCode, onDisk bool) {
	cl, name := c.client, written
	if cl.mount > 0 {
		name = s.fullName(cl.mountPoint(), written)
	}
	r := c.route
	known := r.Is(name)
	if !known {
		if code := s.checkTopic(written, cl); code != packet.Success {
			return code, false
		}
	}
	if who := cl.Identity(); who.Restricted() {
		if !known { // a new one is made only for who has the right to it
			r = s.routes.Cached(name)
			if known = r != nil; known {
				c.route = r
			}
		}
		if !s.routes.MayPublish(who, r, name, p.QoS, p.Retain) {
			s.count.RefusedAccess++
			return packet.NotAuthorized, false
		}
	}
	failing := s.disk.failing() != nil
	if failing && p.QoS > 0 && (p.Retain || p.QoS == 2 && cl.stored()) {
		s.count.RefusedStore++
		return packet.QuotaExceeded, false
	}
	s.intact = false
	m := &s.message
	*m = message.Message{
		Topic: name, Payload: p.Payload, Properties: p.Properties.Forward,
		QoS: p.QoS, Retain: p.Retain, Publisher: cl.id,
	}
	if p.Properties.HasExpiry {
		m.Expire(s.now, p.Properties.MessageExpiry)
	}
	if failing && m.Retain {
		s.count.RefusedStore++ // QoS 0: who listens gets it, but it is not retained
	} else if !s.retain(m) && p.QoS > 0 && c.version == packet.V5 {
		return packet.QuotaExceeded, false
	}
	// After retain: see interest.
	if known {
		s.routes.Renew(r)
	} else {
		var cached bool
		if r, cached = s.routes.Route(name); cached {
			c.route = r
		}
	}
	if failing && p.QoS > 0 && r.Persists() {
		s.count.RefusedStore++
		return packet.QuotaExceeded, false
	}
	code, s.planned = packet.NoMatchingSubscribers, plan{}
	if !r.Empty() {
		code = packet.Success
		if m.Size() >= copyBelow {
			s.payloadBuffer = c.net.InputBuffer()
		}
		if !s.route(m, r, cl) {
			s.stall(c)
		}
		s.payloadBuffer = nil
	}
	if s.b.cfg.Store == nil {
		return code, false
	}
	if p.QoS == 2 && cl.stored() {
		s.received(cl, p.ID)
		onDisk = true
	}
	if onDisk = onDisk || m.Retain || s.planned.seq != 0; onDisk && s.disk.busy() {
		s.stall(c)
	}
	return code, onDisk
}

// received writes down that a QoS 2 message which the client sends again is the
// same one (MQTT-4.3.3-10): in
// the same instant as the message itself, for a crash between the two would
// lose it or repeat it.
func (s *shard) received(cl *client, id packet.ID) {
	if s.planned.remote {
		s.disk.turn().Undecided(s.planned.seq, true)
	}
	s.disk.turn().PutIncoming(cl.session.Number, id, s.planned.remote)
}
