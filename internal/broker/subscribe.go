package broker

import (
	"errors"
	"slices"

	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/store"
	"midge/internal/topic"
)

// handleSubscribe runs a SUBSCRIBE: each filter for itself (MQTT-3.8.4-5), one
// SUBACK for all (MQTT-3.8.4-1, MQTT-3.8.4-6), then the retained messages, as
// Retain Handling asks (MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11).
func (s *shard) handleSubscribe(c *conn, first byte, body []byte) error {
	p := &s.packets.subscribe
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	for i := range p.Subscriptions { // before anything is changed
		if err := checkFilter(c.version, p.Subscriptions[i].Filter); err != nil {
			return err
		}
	}
	if who := c.client.Identity(); who != nil && who.Asking != nil && s.asksAboutSubscribe(c, who.Asking, p) {
		return errAsked
	}
	s.intact = false
	var id uint32
	if ids := p.Properties.SubscriptionIDs; len(ids) > 0 {
		id = ids[0]
	}
	s.packets.codes = s.packets.codes[:0]
	var wanted []retainedRequest
	for i := range p.Subscriptions {
		if i >= s.settings.Limits.Subscriptions { // more than a client may have: it repeats itself
			s.count.RefusedSubscriptions++
			s.packets.codes = append(s.packets.codes, packet.QuotaExceeded)
			continue
		}
		sub, existed, code := s.addSubscription(c, &p.Subscriptions[i], id)
		if h := p.Subscriptions[i].RetainHandling; sub != nil && sub.Group == nil && (s.settings.retains || sysTopic([]byte(sub.Filter))) &&
			(h == packet.SendRetained || h == packet.SendRetainedIfNew && !existed) {
			wanted = append(wanted, retainedRequest{sub, 0})
		}
		if code.Failed() {
			s.limited(c, code, "SUBSCRIBE "+string(p.Subscriptions[i].Filter)+": "+s.refusal(code))
		}
		s.packets.codes = append(s.packets.codes, code)
	}
	s.work += setupWork * len(p.Subscriptions)
	if len(wanted) > 0 {
		newest := s.b.retained.Newest() // after all of them are known; see interest
		for i := range wanted {
			wanted[i].newest = newest
		}
	}
	s.packets.suback = packet.Suback{ID: p.ID, Codes: s.packets.codes}
	out := s.packets.suback.AppendWithin(s.out[:0], c.version, s.maxPacket(c))
	if !c.client.stored() {
		s.subscribed(c, out, wanted)
		return nil
	}
	answer := slices.Clone(out)
	size := uint32(len(answer) + 16*len(wanted))
	s.promise(promise{c: c, size: size, then: func() { s.subscribed(c, answer, wanted) }})
	return nil
}

// subscribed sends SUBACK and then the retained messages.
func (s *shard) subscribed(c *conn, suback []byte, wanted []retainedRequest) {
	s.send(c, suback)
	cl := c.client
	for _, r := range wanted {
		if cl.subs.Find(r.sub.Filter) == r.sub {
			s.requestRetained(r)
		}
	}
}

// addSubscription makes a subscription, or changes the one with the same filter
// (MQTT-3.8.4-3). It returns nil and the reason if that is refused.
func (s *shard) addSubscription(c *conn, p *packet.Subscription, id uint32) (sub *subscription, existed bool, code packet.ReasonCode) {
	cl, filter := c.client, string(p.Filter)
	if _, _, _, err := topic.ParseShared(filter); err != nil { // before 5.0; see checkFilter
		return nil, false, packet.TopicFilterInvalid
	}
	if topic.ValidFilter(filter, s.settings.topics) != nil || !fits(cl.Mount(), len(filter)) { // our limits
		s.count.RefusedTopics++
		return nil, false, packet.TopicFilterInvalid
	}
	filter = cl.filterOf(filter)
	name, shared, _ := routing.ParseFilter(filter)
	if !cl.Identity().MaySubscribe(name.Filter) {
		s.count.RefusedAccess++
		return nil, false, packet.NotAuthorized
	}
	if cl.stored() && s.disk.failing() != nil {
		s.count.RefusedStore++
		return nil, false, packet.QuotaExceeded
	}
	sub = cl.subs.Find(filter)
	if existed = sub != nil; !existed {
		if cl.subs.Weight()+routing.WeightOf(filter) > s.settings.Limits.Subscriptions {
			s.count.RefusedSubscriptions++
			return nil, false, packet.QuotaExceeded
		}
		if s.budget.shut || s.budget.pressure == CloseReaders {
			s.count.RefusedMemory++
			return nil, false, packet.QuotaExceeded
		}
		sub = &subscription{Filter: filter, Client: cl, Persistent: cl.stored()}
		cl.subs.Add(sub)
	}
	before := sub.Persisted()
	sub.ID, sub.QoS, sub.NoLocal, sub.RetainAsPublished = id, p.QoS, p.NoLocal, p.RetainAsPublished
	if cl.bridges() {
		sub.NoLocal, sub.RetainAsPublished = !shared, true
	}
	if cl.stored() {
		s.disk.turn().PutSubscription(cl.session.Number, &store.Subscription{
			Filter: filter, ID: id, QoS: p.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished,
		})
	}
	switch {
	case shared:
		s.share(sub, name, existed)
	case existed:
		s.routes.Changed(sub, before)
	default:
		s.enter(sub)
	}
	return sub, existed, packet.ReasonCode(p.QoS)
}

// enter makes a new subscription of this shard known.
func (s *shard) enter(sub *subscription) {
	s.count.Subscriptions++
	s.routes.Add(sub)
}

// share makes a shared subscription known, or its new options.
func (s *shard) share(sub *subscription, name routing.GroupName, existed bool) {
	cl := sub.Client
	if !existed {
		s.count.SharedSubscriptions++
		cl.need().shared++
	}
	if cl.online() != nil {
		s.present(cl)
	}
	m := member{
		Client: cl, Consumer: &cl.rare.Consumer, Identity: cl.rare.who, Shard: s.index,
		QoS: sub.QoS, Mount: cl.mount, ID: sub.ID, RetainAsPublished: sub.RetainAsPublished,
		Persistent: cl.stored(), Lasting: s.waitsInGroup(cl, sub.QoS),
	}
	sub.Group = s.b.interest.Join(name, m, shardOf([]byte(queueID(name)), len(s.b.shards)))
	s.wakeQueue(sub.Group)
}

// drop makes a subscription that ends unknown.
func (s *shard) drop(sub *subscription) {
	if sub.Group != nil {
		s.count.SharedSubscriptions--
		sub.Client.rare.shared--
		s.b.interest.Leave(sub.Group, sub.Client)
		return
	}
	s.count.Subscriptions--
	s.routes.Remove(sub)
}

// handleUnsubscribe runs an UNSUBSCRIBE. Messages that the session has already
// may still be sent (MQTT 5.0 section 3.10.4), and what other shards have routed
// here before comes first: its publisher may know already that we have it.
func (s *shard) handleUnsubscribe(c *conn, first byte, body []byte) error {
	p := &s.packets.unsubscribe
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
	s.afterEnvelopes(c, func() {
		if c.client == cl { // it did not end meanwhile
			s.removeSubscriptions(c, id, filters)
		}
	})
	return nil
}

// removeSubscriptions ends subscriptions (MQTT-3.10.4-1, MQTT-3.10.4-2) and answers
// (MQTT-3.10.4-4, MQTT-3.10.4-6).
func (s *shard) removeSubscriptions(c *conn, id packet.ID, filters []string) {
	s.intact = false
	s.packets.codes = s.packets.codes[:0]
	for _, f := range filters {
		s.packets.codes = append(s.packets.codes, s.removeSubscription(c.client, c.client.filterOf(f)))
	}
	s.work += setupWork * len(filters)
	ack := packet.Unsuback{ID: id, Codes: s.packets.codes}
	out := ack.AppendWithin(s.out[:0], c.version, s.maxPacket(c))
	if c.client.stored() {
		s.promiseBytes(c, out)
	} else {
		s.send(c, out)
	}
}

func (s *shard) removeSubscription(cl *client, filter string) packet.ReasonCode {
	sub := cl.subs.Find(filter)
	if sub != nil {
		cl.subs.Remove(filter)
		if cl.stored() {
			s.disk.turn().DeleteSubscription(cl.session.Number, filter)
		}
		s.drop(sub)
		if sub.Group != nil {
			s.handOver(cl, sub.Group)
			s.wakeQueue(sub.Group)
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

// identify takes note of who a client is. What was found out for who it was
// before does not count any more.
func (s *shard) identify(cl *client, who *routing.Identity) {
	if who == nil && cl.Identity() == nil {
		return
	}
	cl.need().who = who
	for sub := range cl.subs.All {
		if sub.Group != nil {
			s.share(sub, sub.Group.Name, true)
		} else {
			s.routes.Invalidate(sub.Filter)
		}
	}
}
