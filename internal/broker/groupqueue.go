package broker

import (
	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/settings"
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

const (
	// mostDealt is how many messages a shard deals out in a turn.
	mostDealt = 512

	// mostAhead is how many messages are read at a time, and mostAheadBytes
	// after how many bytes that ends.
	mostAhead      = 64
	mostAheadBytes = 64 << 10
)

// queueID is the client id of the session that is the queue of a group.
func queueID(n routing.GroupName) string { return store.QueueID(n.String()) }

// account keeps what groups know of a client's load, and tells those that wait
// for it when there is room.
func (s *shard) account(cl *client) {
	if cl.rare.Account(cl.session.Inflight() + cl.session.Queued()) {
		s.tellQueues(cl)
	}
}

// tellQueues tells the queues of a client's groups that it has room.
func (s *shard) tellQueues(cl *client) {
	for sub := range cl.subs.All {
		if sub.Group != nil {
			s.tellQueue(sub.Group)
		}
	}
}

// tellQueue makes the shard of a group look at its queue, if something waits there or
// it must go.
func (s *shard) tellQueue(g *group) {
	if !g.Busy() {
		return
	}
	if g.Home == s.index {
		s.list(g)
		return
	}
	s.b.runner.Post(g.Home, func() {
		home := s.b.shards[g.Home]
		home.tell()
		home.list(g)
	})
}

// list makes the next turn deal out the queue of a group of this shard.
func (s *shard) list(g *group) {
	if q := s.queues[g]; q != nil && !q.listed && !q.over {
		q.listed = true
		s.dealing = append(s.dealing, q)
	}
}

// deposit puts a message into the queue of a group of this shard.
func (s *shard) deposit(g *group, m *message.Message, key message.Key) {
	if !g.Arrived() {
		s.count.DroppedGroup++
		return
	}
	q := s.queueOf(g)
	if s.b.cfg.Store != nil {
		s.books.receivers = store.AppendReceiver(s.books.receivers[:0], &store.Receiver{
			Session: q.client.session.Number, QoS: m.QoS, Retain: m.Retain, Share: g.Name.String(),
		})
		key = s.writeReceivers(1, m, key)
	}
	s.lend(m)
	s.enqueue(q.client, m, m.QoS, m.Retain, nil, nil, key, true)
	q.note()
	s.list(g)
}

// queueOf is the queue of a group of this shard, a new one if it has none.
func (s *shard) queueOf(g *group) *queue {
	q := s.queues[g]
	if q == nil {
		var number uint64
		if s.b.cfg.Store != nil {
			number = s.b.cfg.Store.NextSession()
		}
		q = &queue{group: g, client: &client{id: queueID(g.Name), expiry: never, session: session.New(&s.session, number)}}
		s.queues[g] = q
		s.writeSession(q.client, 0)
	}
	return q
}

// note tells the group how much waits.
func (q *queue) note() {
	q.group.Waiting(q.client.session.Queued() + len(q.ahead) + q.reading)
}

// deal deals out what waits in queues, and reports whether there is more for
// members that have room.
func (s *shard) deal() (more bool) {
	if len(s.dealing) == 0 {
		return false
	}
	if s.failing() != nil {
		return false // StoreChanged wakes the shard
	}
	left := mostDealt
	for i := 0; i < len(s.dealing); i++ {
		q := s.dealing[i]
		switch s.dealOut(q, &left) {
		case dealMore:
			more = true
		case dealLater:
		case dealDone:
			q.listed = false
			s.dealing = append(s.dealing[:i], s.dealing[i+1:]...)
			i--
		}
	}
	return more
}

// dealt is how a queue stands after a turn.
type dealt uint8

const (
	dealDone  dealt = iota // nothing waits, or nobody has room; somebody will tell
	dealMore               // in the next turn
	dealLater              // when a mailbox or the disk has room: the shard is woken then
)

// dealOut deals out a queue, left messages at most.
func (s *shard) dealOut(q *queue, left *int) dealt {
	g := q.group
	defer q.note()
	asked := false
	for {
		if s.endQueue(q) || q.reading > 0 {
			return dealDone
		}
		if len(q.ahead) == 0 && !(g.Draining() && s.readAhead(q)) {
			return dealDone
		}
		if q.reading > 0 {
			return dealDone
		}
		if *left == 0 {
			return dealMore
		}
		if s.diskBusy() {
			s.b.stalled.Or(1 << s.index)
			if s.diskBusy() {
				return dealLater
			}
		}
		t := q.ahead[0]
		if t.Message.Expired(s.now) {
			s.count.DroppedExpired++
			s.discard(q)
			continue
		}
		to, choice := g.Pick(t.Message, routing.FromQueue, s.settings.sharing)
		switch choice {
		case routing.ToMember, routing.ToAway:
			asked = false
			q.ahead = q.ahead[1:]
			*left--
			if ok := s.hand(g, to, choice, t); !ok {
				return s.dealAfter(to.Shard)
			}
		case routing.TooLarge:
			s.count.DroppedSize++
			s.discard(q)
		case routing.NotAllowed:
			s.count.DroppedRight++
			s.discard(q)
		default:
			if asked {
				return dealDone
			}
			g.Want(s.settings.sharing) // and look again, for one may have got room before
			asked = true
		}
	}
}

// dealAfter waits until the mailbox of another shard is not full any more.
func (s *shard) dealAfter(shard int) dealt {
	box := &s.b.shards[shard].inbox
	box.waiting.Or(1 << s.index)
	if box.bytes.Load() <= s.settings.mailbox {
		return dealMore
	}
	return dealLater
}

// hand gives a message that waited to a member. Its record stays until that of
// the member is on disk. It reports false if the member's shard has no room for
// more.
func (s *shard) hand(g *group, to member, c routing.Choice, t session.Taken) bool {
	var kept *parcel
	return s.give(g, to, c, t.Message, &kept, s.renumber(t.Stored, t.Message.QoS))
}

// discard drops the first of the messages that were read.
func (s *shard) discard(q *queue) {
	s.drain(q, q.ahead[0].Stored)
	q.ahead = q.ahead[1:]
}

// drain tells the store that a queue has no more use for a message.
func (s *shard) drain(q *queue, m message.Stored) {
	if m.Key != 0 {
		s.Finish(q.client.session.Number, m)
	}
}

// readAhead takes the messages that are dealt out next, and begins to read their
// contents if those are only on disk. It reports false if none waits.
func (s *shard) readAhead(q *queue) bool {
	var missing []message.Stored
	size := 0
	q.ahead = q.ahead[:0]
	for len(q.ahead)+len(missing) < mostAhead && size < mostAheadBytes {
		if len(q.ahead) > 0 && len(missing) > 0 {
			break
		}
		t, expired, ok := q.client.session.Take(s.now)
		s.count.DroppedExpired += uint64(expired)
		if !ok {
			break
		}
		size += t.Stored.Size
		if t.Message == nil {
			missing = append(missing, t.Stored)
		} else {
			q.ahead = append(q.ahead, t)
		}
	}
	if len(missing) == 0 {
		return len(q.ahead) > 0
	}
	q.reading = len(missing)
	s.read(missing, func(results []store.Result) {
		q.reading = 0
		for i, r := range results {
			switch {
			case r.Err != nil:
				s.lost(r)
				s.drain(q, missing[i])
			case q.over:
				s.count.DroppedGroup++
				s.drain(q, missing[i])
			default:
				q.ahead = append(q.ahead, session.Taken{Message: r.Message, Stored: missing[i], QoS: r.Message.QoS})
			}
		}
		q.note()
		s.list(q.group)
	})
	return true
}

// endQueue forgets the queue of a group that has ended, with what waits in it,
// and reports whether it did.
func (s *shard) endQueue(q *queue) bool {
	if q.over || !q.group.Ended() {
		return q.over
	}
	q.over = true
	delete(s.queues, q.group)
	for len(q.ahead) > 0 {
		s.count.DroppedGroup++
		s.discard(q)
	}
	s.count.DroppedGroup += uint64(q.client.session.Queued())
	s.bury(q.client)
	return true
}

// bury forgets a stored session and, some in each turn, its messages.
func (s *shard) bury(cl *client) {
	if cl.stored() {
		s.disk().DropSession(cl.session.Number)
		s.books.graves = append(s.books.graves, cl)
	}
}

// setOnline tells other shards whether a client with shared subscriptions is
// connected.
func (s *shard) setOnline(cl *client, online bool) {
	if !cl.shares() {
		return
	}
	if online {
		s.present(cl)
		s.tellQueues(cl)
		return
	}
	cl.rare.Disconnect()
	for sub := range cl.subs.All {
		if sub.Group != nil && sub.Group.TakesBack() {
			s.handOver(cl, sub.Group)
		}
	}
	s.tellQueues(cl) // what waits for this one may go to another now
}

// present publishes what groups must know of a client that is connected.
func (s *shard) present(cl *client) {
	cl.rare.Connect(int(cl.session.Link.ReceiveMaximum), cl.session.Link.MaxPacket())
	s.account(cl)
}

// waitsInGroup tells whether messages for a shared subscription of a client wait
// with the group: its session outlives its connection.
func (s *shard) waitsInGroup(cl *client, qos packet.QoS) bool {
	return qos > 0 && (cl.stored() || cl.expiry > 0) && s.settings.Session.SharedQueue == settings.WithGroup
}
