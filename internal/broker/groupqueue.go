package broker

import (
	"midge/internal/message"
	"midge/internal/session"
	"midge/internal/store"
)

// queue is where the messages of a group wait that no member can take now. It is
// a session without a client, so that it has all that a session's queue has:
// the same limits and the same policy, counters, and a place on disk that a
// restart finds. The shard that its name belongs to (group.home) owns it, and
// deals it out: to members that are connected and have room, each in turn.
type queue struct {
	client  *client
	group   *group
	ahead   []session.Taken // the first that wait, with their contents
	reading int             // messages whose contents are being read
	listed  bool            // in shard.dealing
	over    bool            // the group has ended
}

// deposit puts a message into the queue of a group of this shard.
func (s *shard) deposit(g *group, m *message.Message, key message.Key) {
	if !g.Arrived() {
		s.count.DroppedGroup++
		return
	}
	q := s.queueOf(g)
	if s.b.cfg.Store != nil {
		if key == 0 {
			key = s.disk.lateKey(m)
		}
		s.disk.receivers = store.AppendReceiver(s.disk.receivers[:0], &store.Receiver{
			Session: q.client.session.Number, QoS: m.QoS, Retain: m.Retain, Share: g.Name.String(),
		})
		key = s.disk.putReceivers(1, m, key)
	}
	s.beginDelivery(m)
	s.enqueue(q.client, session.Delivery{QoS: m.QoS, Retain: m.Retain, Key: key, Sole: true})
	q.note()
	s.list(g)
}

// queues are those of the groups that have their home on a shard.
type queues struct {
	byGroup map[*group]*queue
	ready   []*queue // those that may have something for members with room
}

// queueOf is the queue of a group of this shard, a new one if it has none.
func (s *shard) queueOf(g *group) *queue {
	q := s.queues.byGroup[g]
	if q == nil {
		var number uint64
		if s.b.cfg.Store != nil {
			number = s.b.cfg.Store.NextSession()
		}
		q = &queue{group: g, client: &client{id: queueID(g.Name), expiry: never, session: session.New(&s.session, number)}}
		s.queues.byGroup[g] = q
		s.writeSession(q.client, 0)
	}
	return q
}

// note makes known to the group how much waits.
func (q *queue) note() {
	q.group.Waiting(q.client.session.Queued() + len(q.ahead) + q.reading)
}
