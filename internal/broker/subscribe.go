package broker

import (
	"errors"
	"slices"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/topic"
)

// handleSubscribe runs a SUBSCRIBE: each filter for itself, one SUBACK for all,
// then the retained messages.
func (s *shard) handleSubscribe(c *conn, first byte, body []byte) error {
	p := &s.subscribe
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	for i := range p.Subscriptions { // before anything is changed
		if err := checkFilter(c.version, p.Subscriptions[i].Filter); err != nil {
			return err
		}
	}
	s.intact = false
	var id uint32
	if ids := p.Properties.SubscriptionIDs; len(ids) > 0 {
		id = ids[0]
	}
	s.codes = s.codes[:0]
	var wanted []retainedRequest
	for i := range p.Subscriptions {
		if i >= s.settings.Limits.Subscriptions { // more than a client may have: it repeats itself
			s.count.RefusedSubscriptions++
			s.codes = append(s.codes, packet.QuotaExceeded)
			continue
		}
		sub, existed, code := s.addSubscription(c, &p.Subscriptions[i], id)
		if h := p.Subscriptions[i].RetainHandling; sub != nil && sub.group == nil &&
			(h == packet.SendRetained || h == packet.SendRetainedIfNew && !existed) {
			wanted = append(wanted, retainedRequest{sub, 0})
		}
		if code.Failed() {
			s.limited(c, code, "SUBSCRIBE "+string(p.Subscriptions[i].Filter)+": "+s.refusal(code))
		}
		s.codes = append(s.codes, code)
	}
	s.work += setupWork * len(p.Subscriptions)
	if len(wanted) > 0 {
		newest := s.b.retained.newest() // after all of them are known; see interest
		for i := range wanted {
			wanted[i].newest = newest
		}
	}
	s.suback = packet.Suback{ID: p.ID, Codes: s.codes}
	out := s.suback.AppendWithin(s.out[:0], c.version, s.most(c))
	if !c.client.stored() {
		s.subscribed(c, out, wanted)
		return nil
	}
	kept := slices.Clone(out)
	s.promise(promise{c: c, then: func() { s.subscribed(c, kept, wanted) }})
	return nil
}

// subscribed sends SUBACK and then the retained messages.
func (s *shard) subscribed(c *conn, suback []byte, wanted []retainedRequest) {
	s.send(c, suback)
	cl := c.client
	for _, r := range wanted {
		if cl.subs.find(r.sub.filter) == r.sub {
			s.requestRetained(r)
		}
	}
}

// addSubscription makes or changes one subscription. It returns nil and the
// reason if that is refused.
func (s *shard) addSubscription(c *conn, p *packet.Subscription, id uint32) (sub *subscription, existed bool, code packet.ReasonCode) {
	filter := string(p.Filter)
	name, inner, shared, err := topic.ParseShared(filter)
	if err != nil { // before 5.0; see checkFilter
		return nil, false, packet.TopicFilterInvalid
	}
	if topic.ValidFilter(filter, s.settings.topics) != nil { // our limits
		s.count.RefusedTopics++
		return nil, false, packet.TopicFilterInvalid
	}
	cl := c.client
	if !cl.identity().maySubscribe(inner) {
		s.count.RefusedAccess++
		return nil, false, packet.NotAuthorized
	}
	if cl.stored() && s.failing() != nil {
		s.count.RefusedStore++
		return nil, false, packet.QuotaExceeded
	}
	sub = cl.subs.find(filter)
	if existed = sub != nil; !existed {
		if cl.subs.weight()+weightOf(filter) > s.settings.Limits.Subscriptions {
			s.count.RefusedSubscriptions++
			return nil, false, packet.QuotaExceeded
		}
		if s.shut || s.pressure == CloseReaders {
			s.count.RefusedMemory++
			return nil, false, packet.QuotaExceeded
		}
		sub = &subscription{filter: filter, client: cl}
		cl.subs.add(sub)
	}
	before := sub.qos
	sub.id, sub.qos, sub.noLocal, sub.rap = id, p.QoS, p.NoLocal, p.RetainAsPublished
	if cl.bridges() {
		sub.noLocal, sub.rap = !shared, true
	}
	if cl.stored() {
		s.disk().PutSubscription(cl.session.Number, &store.Subscription{
			Filter: filter, ID: id, QoS: p.QoS, NoLocal: sub.noLocal, RetainAsPublished: sub.rap,
		})
	}
	switch {
	case shared:
		s.share(sub, groupName{name, inner}, existed)
	case existed:
		s.changes.add(filter)
		s.store(sub, before > 0)
	default:
		s.enter(sub)
	}
	return sub, existed, packet.ReasonCode(p.QoS)
}

// enter makes a new subscription of this shard known.
func (s *shard) enter(sub *subscription) {
	s.count.Subscriptions++
	firstOne := !s.hasSubscription(sub.filter)
	sub.ref = s.subscriptions.Add(sub.filter, sub)
	s.changes.add(sub.filter)
	if firstOne {
		s.b.interest.add(sub.filter, s.index)
	}
	s.store(sub, false)
}

// store makes known whether messages for a subscription are kept on disk. was
// tells whether they were before.
func (s *shard) store(sub *subscription, was bool) {
	is := sub.client.stored() && sub.qos > 0
	switch was = was && sub.client.stored(); {
	case is && !was:
		if s.books.durable[sub.filter]++; s.books.durable[sub.filter] == 1 {
			s.b.interest.store(sub.filter, s.index)
		}
	case was && !is:
		s.unstore(sub.filter)
	}
}

// unstore takes back one store of a filter.
func (s *shard) unstore(filter string) {
	if s.books.durable[filter]--; s.books.durable[filter] == 0 {
		delete(s.books.durable, filter)
		s.b.interest.unstore(filter, s.index)
	}
}

// hasSubscription tells whether the shard has a subscription of this filter.
func (s *shard) hasSubscription(filter string) (any bool) {
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
		sub.client.need().shared++
	}
	cl := sub.client
	if cl.online() != nil {
		s.present(cl)
	}
	m := member{
		client: cl, state: &cl.rare.consumer, who: cl.rare.who, shard: s.index, qos: sub.qos, id: sub.id, rap: sub.rap,
		stored: cl.stored(), lasting: s.waitsInGroup(cl, sub.qos),
	}
	sub.group = s.b.interest.join(name, m, len(s.b.shards))
	s.tellQueue(sub.group)
}

// drop makes a subscription that ends unknown.
func (s *shard) drop(sub *subscription) {
	if sub.group != nil {
		s.count.SharedSubscriptions--
		sub.client.rare.shared--
		s.b.interest.leave(sub.group, sub.client)
		return
	}
	s.count.Subscriptions--
	s.subscriptions.Remove(sub.ref)
	s.changes.add(sub.filter)
	if sub.client.stored() && sub.qos > 0 {
		s.unstore(sub.filter)
	}
	if !s.hasSubscription(sub.filter) {
		s.b.interest.remove(sub.filter, s.index)
	}
}

// handleUnsubscribe runs an UNSUBSCRIBE. Messages that the session has already
// may still be sent (MQTT 5.0 section 3.10.4), and what other shards have routed
// here before comes first: its publisher may know already that we have it.
func (s *shard) handleUnsubscribe(c *conn, first byte, body []byte) error {
	p := &s.unsubscribe
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	filters := make([]string, len(p.Filters))
	for i, f := range p.Filters {
		if err := checkFilter(c.version, f); err != nil {
			return err
		}
		filters[i] = string(f)
	}
	id, cl := p.ID, c.client
	s.afterLetters(c, func() {
		if c.client == cl { // it did not end meanwhile
			s.removeSubscriptions(c, id, filters)
		}
	})
	return nil
}

// removeSubscriptions ends subscriptions and answers.
func (s *shard) removeSubscriptions(c *conn, id packet.ID, filters []string) {
	s.intact = false
	s.codes = s.codes[:0]
	for _, f := range filters {
		s.codes = append(s.codes, s.removeSubscription(c.client, f))
	}
	s.work += setupWork * len(filters)
	ack := packet.Unsuback{ID: id, Codes: s.codes}
	out := ack.AppendWithin(s.out[:0], c.version, s.most(c))
	if c.client.stored() {
		s.promiseBytes(c, out)
	} else {
		s.send(c, out)
	}
}

func (s *shard) removeSubscription(cl *client, filter string) packet.ReasonCode {
	sub := cl.subs.find(filter)
	if sub != nil {
		cl.subs.remove(filter)
		if cl.stored() {
			s.disk().DropSubscription(cl.session.Number, filter)
		}
		s.drop(sub)
		if sub.group != nil {
			s.handOver(cl, sub.group)
			s.tellQueue(sub.group)
		}
		return packet.Success
	}
	return packet.NoSubscriptionExisted
}

// checkFilter finds a filter that breaks the rules of the standard, whatever our
// limits: its packet is a protocol error. The error is a *packet.Fault. A shared
// subscription is nothing that clients before 5.0 know of, so that what is wrong
// only as one is refused in SUBACK.
func checkFilter(v packet.Version, filter []byte) error {
	f := string(filter)
	err := topic.ValidFilter(f, topic.Limits{})
	if err == nil && v == packet.V5 {
		_, _, _, err = topic.ParseShared(f)
	}
	wrong, ok := errors.AsType[*topic.Error](err)
	if !ok {
		return err
	}
	clause := wrong.Clause
	if v != packet.V5 {
		clause = wrong.Clause311
	}
	return &packet.Fault{Code: packet.ProtocolError, Clause: clause, Detail: "topic filter: " + wrong.Detail}
}
