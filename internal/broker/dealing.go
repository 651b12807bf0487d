package broker

import (
	"midge/internal/message"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
)

// deal deals out what waits in queues, and reports whether there is more for
// members that have room.
func (s *shard) deal() (more bool) {
	if len(s.queues.ready) == 0 {
		return false
	}
	if s.disk.failing() != nil {
		return false // StoreChanged wakes the shard
	}
	left := maxDealt
	for i := 0; i < len(s.queues.ready); i++ {
		q := s.queues.ready[i]
		switch s.dealOut(q, &left) {
		case dealMore:
			more = true
		case dealLater:
		case dealDone:
			q.listed = false
			s.queues.ready = append(s.queues.ready[:i], s.queues.ready[i+1:]...)
			i--
		}
	}
	return more
}

// dealt is how a queue stands after a turn.
type dealt uint8

const (
	dealDone  dealt = iota // nothing waits, or nobody has room; the queue is woken then
	dealMore               // in the next turn
	dealLater              // when a mailbox, the disk or memory has room: the shard is woken then
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
		if s.budget.shut {
			return dealLater
		}
		if s.disk.busy() {
			s.b.stalled.Or(1 << s.index)
			if s.disk.busy() {
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
	var packed *message.Parcel
	s.waited = true
	defer func() { s.waited = false }()
	return s.give(g, to, c, t.Message, &packed, s.renumber(t.Stored, t.Message.QoS))
}

// discard drops the first of the messages that were read.
func (s *shard) discard(q *queue) {
	s.drain(q, q.ahead[0].Stored)
	q.ahead = q.ahead[1:]
}

// drain gives up a message of a queue in the store.
func (s *shard) drain(q *queue, m message.Stored) {
	if m.Key != 0 {
		s.disk.Finish(q.client.session.Number, m)
	}
}

// readAhead takes the messages that are dealt out next, and begins to read their
// contents if those are only on disk. It reports false if none waits.
func (s *shard) readAhead(q *queue) bool {
	var missing []message.Stored
	size := 0
	q.ahead = q.ahead[:0]
	for len(q.ahead)+len(missing) < maxAhead && size < maxAheadBytes {
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
	delete(s.queues.byGroup, q.group)
	for len(q.ahead) > 0 {
		s.count.DroppedGroup++
		s.discard(q)
	}
	s.count.DroppedGroup += uint64(q.client.session.Queued())
	s.disk.drop(q.client)
	return true
}

const (
	// maxDealt is how many messages a shard deals out in a turn.
	maxDealt = 512

	// maxAhead is how many messages are read at a time, and maxAheadBytes
	// after how many bytes that ends.
	maxAhead      = 64
	maxAheadBytes = 64 << 10
)
