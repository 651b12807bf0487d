package broker

import (
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/settings"
	"midge/internal/store"
)

// queueID is the client id of the session that is the queue of a group.
func queueID(n routing.GroupName) string { return store.QueueID(n.String()) }

// account keeps what groups know of a client's load, and wakes those that wait
// for it when there is room.
func (s *shard) account(cl *client) {
	if cl.rare.Account(cl.session.Inflight() + cl.session.Queued()) {
		s.wakeQueues(cl)
	}
}

// wakeQueues wakes the queues of a client's groups: it has room.
func (s *shard) wakeQueues(cl *client) {
	for sub := range cl.subs.All {
		if sub.Group != nil {
			s.wakeQueue(sub.Group)
		}
	}
}

// wakeQueue makes the shard of a group look at its queue, if something waits there or
// it must go.
func (s *shard) wakeQueue(g *group) {
	if !g.Busy() {
		return
	}
	if g.Home == s.index {
		s.list(g)
		return
	}
	s.b.runner.Post(g.Home, func() {
		home := s.b.shards[g.Home]
		home.readClock()
		home.list(g)
	})
}

// list makes the next turn deal out the queue of a group of this shard.
func (s *shard) list(g *group) {
	if q := s.queues.byGroup[g]; q != nil && !q.listed && !q.over {
		q.listed = true
		s.queues.ready = append(s.queues.ready, q)
	}
}

// present publishes what groups must know of a client that is connected.
func (s *shard) present(cl *client) {
	cl.rare.Connect(int(cl.session.Link.ReceiveMaximum), cl.session.Link.MaxPacket())
	s.account(cl)
}

// waitsInGroup reports whether messages for a shared subscription of a client wait
// with the group: its session outlives its connection.
func (s *shard) waitsInGroup(cl *client, qos packet.QoS) bool {
	return qos > 0 && (cl.stored() || cl.expiry > 0) && s.settings.Session.SharedQueue == settings.WithGroup
}
