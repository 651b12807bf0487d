package broker

import (
	"errors"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/topic"
)

// handleSubscribe runs a SUBSCRIBE: each filter for itself, one SUBACK for all,
// then the retained messages.
func (s *shard) handleSubscribe(c *conn, first byte, body []byte) error {
	p := &s.subscribe
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	var id uint32
	if ids := p.Properties.SubscriptionIDs; len(ids) > 0 {
		id = ids[0]
	}
	s.codes = s.codes[:0]
	var wanted []retainedRequest
	for i := range p.Subscriptions {
		sub, existed, code := s.addSubscription(c, &p.Subscriptions[i], id)
		if h := p.Subscriptions[i].RetainHandling; sub != nil && sub.group == nil &&
			(h == packet.SendRetained || h == packet.SendRetainedIfNew && !existed) {
			wanted = append(wanted, retainedRequest{sub, i})
		}
		s.codes = append(s.codes, code)
	}
	ack := packet.Suback{ID: p.ID, Codes: s.codes}
	s.send(c, ack.AppendWithin(s.out[:0], c.version, s.most(c)))
	for _, r := range wanted {
		s.requestRetained(c.client, r.sub)
	}
	return nil
}

// retainedRequest asks for the retained messages of a subscription.
type retainedRequest struct {
	sub *subscription
	at  int // in SUBSCRIBE
}

// addSubscription makes or changes one subscription. It returns nil and the
// reason if that is refused.
func (s *shard) addSubscription(c *conn, p *packet.Subscription, id uint32) (sub *subscription, existed bool, code packet.ReasonCode) {
	filter := string(p.Filter)
	if err := topic.ValidFilter(filter, s.limits); err != nil {
		if limit := (*topic.Error)(nil); errors.As(err, &limit) && limit.Clause == "" {
			s.count.RefusedTopics++
		}
		return nil, false, packet.TopicFilterInvalid
	}
	name, inner, shared, err := topic.ParseShared(filter)
	if err == nil && shared {
		err = topic.ValidFilter(inner, s.limits)
	}
	if err != nil {
		return nil, false, packet.TopicFilterInvalid
	}
	cl := c.client
	if !s.b.cfg.Access.Subscribe(cl.id, inner) {
		s.count.RefusedAccess++
		return nil, false, packet.NotAuthorized
	}
	sub = cl.subs.find(filter)
	if existed = sub != nil; !existed {
		if cl.subs.len() >= s.b.cfg.Limits.Subscriptions {
			s.count.RefusedSubscriptions++
			return nil, false, packet.QuotaExceeded
		}
		sub = &subscription{filter: filter, client: cl}
		cl.subs.add(sub)
	}
	sub.id, sub.qos, sub.noLocal, sub.rap = id, p.QoS, p.NoLocal, p.RetainAsPublished
	switch {
	case shared:
		s.share(sub, groupName{name, inner}, existed)
	case existed:
		s.changes.add(filter)
	default:
		s.enter(sub)
	}
	return sub, existed, packet.ReasonCode(p.QoS)
}

// enter makes a new subscription of this shard known.
func (s *shard) enter(sub *subscription) {
	s.count.Subscriptions++
	firstOne := !s.subscribed(sub.filter)
	sub.ref = s.subscriptions.Add(sub.filter, sub)
	s.changes.add(sub.filter)
	if firstOne {
		s.b.interest.add(sub.filter, s.index)
	}
}

// subscribed tells whether the shard has a subscription of this filter.
func (s *shard) subscribed(filter string) (any bool) {
	s.subscriptions.Find(filter, func(topic.Ref, *subscription) bool {
		any = true
		return false
	})
	return any
}

// share makes a shared subscription known, or its new options.
func (s *shard) share(sub *subscription, name groupName, existed bool) {
	if !existed {
		s.count.SharedSubscriptions++
		sub.client.shared++
	}
	m := member{client: sub.client, shard: s.index, qos: sub.qos, id: sub.id, rap: sub.rap, online: true}
	sub.group = s.b.interest.join(name, m, s.b.cfg.Session.Strategy)
}

// drop makes a subscription that ends unknown. What its session has not
// delivered of a shared one goes to other members.
func (s *shard) drop(sub *subscription) {
	cl := sub.client
	if sub.group == nil {
		s.count.Subscriptions--
		s.subscriptions.Remove(sub.ref)
		s.changes.add(sub.filter)
		if !s.subscribed(sub.filter) {
			s.b.interest.remove(sub.filter, s.index)
		}
		return
	}
	s.count.SharedSubscriptions--
	cl.shared--
	s.b.interest.leave(sub.group, cl)
	s.handOver(cl, sub.group)
}

// handleUnsubscribe runs an UNSUBSCRIBE. Messages that the session has already
// may still be sent (MQTT 5.0 section 3.10.4).
func (s *shard) handleUnsubscribe(c *conn, first byte, body []byte) error {
	p := &s.unsubscribe
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	s.codes = s.codes[:0]
	for _, f := range p.Filters {
		s.codes = append(s.codes, s.removeSubscription(c.client, string(f)))
	}
	ack := packet.Unsuback{ID: p.ID, Codes: s.codes}
	s.send(c, ack.AppendWithin(s.out[:0], c.version, s.most(c)))
	return nil
}

func (s *shard) removeSubscription(cl *client, filter string) packet.ReasonCode {
	sub := cl.subs.find(filter)
	if sub != nil {
		cl.subs.remove(filter)
		s.drop(sub)
		return packet.Success
	}
	if !validFilter(filter) {
		return packet.TopicFilterInvalid
	}
	return packet.NoSubscriptionExisted
}

// validFilter tells whether a filter could be subscribed to, whatever our
// limits.
func validFilter(filter string) bool {
	if topic.ValidFilter(filter, topic.Limits{Levels: 65_536}) != nil {
		return false
	}
	_, inner, shared, err := topic.ParseShared(filter)
	return err == nil && (!shared || topic.ValidFilter(inner, topic.Limits{Levels: 65_536}) == nil)
}

// backlogItem is a retained message that a turn had no time for.
type backlogItem struct {
	message *message.Message
	sub     *subscription
}

// atOnce is the number of retained messages that one client gets in a turn;
// others wait for the next, so that a "#" does not stop the shard.
const atOnce = 500

// requestRetained finds the retained messages of a subscription and begins to
// send them.
func (s *shard) requestRetained(cl *client, sub *subscription) {
	s.found = s.b.retained.matches(s.found[:0], sub.filter, s.now)
	n := 0
	if len(s.backlogs[cl]) == 0 {
		for n < min(len(s.found), atOnce) && s.room(cl) {
			s.deliverRetained(s.found[n], sub)
			n++
		}
	}
	for _, m := range s.found[n:] {
		s.backlogs[cl] = append(s.backlogs[cl], backlogItem{m, sub})
	}
	clear(s.found)
	if cap(s.found) > 4096 {
		s.found = nil
	}
}

func (s *shard) deliverRetained(m *message.Message, sub *subscription) {
	if sub.noLocal && m.Publisher == sub.client.id && m.Publisher != "" {
		return // MQTT-3.8.3-3
	}
	var ids []uint32
	if sub.id != 0 {
		ids = []uint32{sub.id}
	}
	s.lend(m)
	qos := min(m.QoS, sub.qos)
	if qos > 0 || ids != nil {
		s.enqueue(sub.client, m, qos, true, ids, nil)
		return
	}
	s.deliverDirect(sub.client, m, true)
}

// deliverBacklogs sends more retained messages to those that wait for them, and
// reports whether there are still some. A message that has been replaced
// meanwhile is left out: the newer one has been delivered live. A client whose
// output or queue is full waits.
func (s *shard) deliverBacklogs() (more bool) {
	for cl, items := range s.backlogs {
		n := 0
		for n < min(len(items), atOnce) && s.room(cl) {
			m, sub := items[n].message, items[n].sub
			n++
			if cl.subs.find(sub.filter) == sub && s.b.retained.current(m) {
				s.deliverRetained(m, sub)
			}
		}
		more = more || n > 0
		if s.backlogs[cl] = items[n:]; n == len(items) {
			delete(s.backlogs, cl)
		}
	}
	return more
}
