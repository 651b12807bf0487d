package broker

import (
	"midge/internal/message"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
)

// routeGroup gives a message to a member of g, or to its queue. It reports
// false if the publisher must wait.
func (s *shard) routeGroup(g *group, m *message.Message, packed **message.Parcel, from routing.Origin, key message.Key) bool {
	to, choice := g.Pick(m, from, s.settings.sharing)
	switch choice {
	case routing.ToMember, routing.ToAway:
		return s.give(g, to, choice, m, packed, key)
	case routing.ToQueue:
		if g.Home != s.index {
			return s.mail(g.Home, m, packed, envelope{group: g, waited: s.waited, key: key})
		}
		s.deposit(g, m, key)
	case routing.TooLarge:
		s.count.DroppedSize++
	case routing.NotAllowed:
		s.count.DroppedRight++
	default:
		s.count.DroppedGroup++
	}
	return true
}

// give gives a message to the member that was picked. It reports false if the
// publisher must wait.
func (s *shard) give(g *group, to member, c routing.Choice, m *message.Message, packed **message.Parcel, key message.Key) bool {
	counted := min(m.QoS, to.QoS) > 0
	if to.Shard != s.index {
		return s.mail(to.Shard, m, packed, envelope{group: g, member: to.Client, away: c == routing.ToAway, counted: counted, waited: s.waited, key: key})
	}
	if counted {
		to.Consumer.Arrived()
	}
	s.deliverShared(g, to, m, key)
	return true
}

// deliverMember gives a message from another shard to the member that was
// picked there, or picks again if that has left, lost its connection or come
// back with a smaller Maximum Packet Size.
func (s *shard) deliverMember(l *envelope, m *message.Message) {
	g, c := l.group, l.member
	s.waited = l.waited
	defer func() { s.waited = false }()
	if c == nil {
		s.deposit(g, m, l.key)
		return
	}
	if l.counted {
		c.rare.Arrived()
	}
	to, ok := g.Member(c)
	if !ok || !to.Online() && !l.away || to.Online() && !to.Takes(m) || !to.Identity.MayReceive(m.Topic) {
		s.routeGroup(g, m, &l.parcel, routing.FromMember, l.key)
		return
	}
	s.deliverShared(g, to, m, l.key)
}

// deliverShared gives a message to a member of this shard.
func (s *shard) deliverShared(g *group, to member, m *message.Message, key message.Key) {
	s.beginDelivery(m)
	if to.ID == 0 && min(m.QoS, to.QoS) == 0 {
		s.deliverDirect(to.Client, m, m.Retain && to.RetainAsPublished)
		return
	}
	var ids []uint32
	if to.ID != 0 {
		ids = []uint32{to.ID}
	}
	qos := min(m.QoS, to.QoS)
	n := 0
	if to.Persistent && qos > 0 {
		n = 1
		if key == 0 {
			key = s.disk.lateKey(m)
		}
		s.disk.receivers = store.AppendReceiver(s.disk.receivers[:0], &store.Receiver{
			Session: to.Client.session.Number, QoS: qos, Retain: m.Retain && to.RetainAsPublished, IDs: ids, Share: g.Name.String(),
		})
	}
	if s.b.cfg.Store != nil {
		key = s.disk.putReceivers(n, m, key)
	}
	s.enqueue(to.Client, session.Delivery{QoS: qos, Retain: m.Retain && to.RetainAsPublished, SubscriptionIDs: ids, Group: g, Key: key, Sole: true})
}
