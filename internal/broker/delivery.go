package broker

import (
	"midge/internal/message"
	"midge/internal/session"
	"midge/internal/store"
)

// enqueue gives a session the message of beginDelivery, which sends it or queues it. Of d, Message is filled in here, and Key and Sole count for sessions that
// are stored.
func (s *shard) enqueue(cl *client, d session.Delivery) {
	d.Message = &s.fanout.cloner
	c, m := cl.online(), d.Message.Borrowed
	if c != nil {
		switch n := c.net.Pending(); {
		case n <= s.budget.pending:
		case d.QoS == 0 && !s.budget.takes(n, m):
			s.dropPending(n)
			return
		case d.QoS > 0 && !passes(n, m):
			s.hold(c)
		}
	}
	if s.budget.pressure == CloseReaders && d.QoS > 0 && !cl.stored() && !s.waited && (c == nil || int64(c.net.Pending())+cl.session.ContentBytes() > pendingUnderPressure) {
		s.count.DroppedMemory++ // it would wait in memory
		return
	}
	if d.QoS == 0 || !cl.stored() {
		d.Key, d.Sole = 0, false
	}
	shared := s.shared(m)
	var out []byte
	if d.HeadOnly = shared != nil; shared == nil {
		out = s.outFor(m)
	} else {
		out = s.out[:0]
		if (d.QoS == 2 || d.QoS == 1 && d.Key == 0) && s.fanout.cloner.Parcel == nil && fills(shared, m) {
			s.fanout.cloner.Parcel = message.NewParcel(m, shared)
		}
	}
	out, outcome, dropped := cl.session.Deliver(out, d, s.now)
	s.count.DroppedQueue += uint64(dropped)
	switch outcome {
	case session.Away:
		s.count.DroppedAway++
	case session.Expired:
		s.count.DroppedExpired++
	case session.TooLarge:
		s.count.DroppedSize++
	case session.Full:
		s.count.DroppedQueue++
	case session.Queued:
		s.budget.charge(entryBytes)
	}
	switch {
	case c == nil:
	case shared != nil:
		s.putShared(c, out, m.Payload, shared)
	default:
		s.put(c, out)
	}
	s.releaseOut()
	s.serve(cl)
}

// countDrops counts what a session dropped when it was about to send it.
func (s *shard) countDrops(d session.Drops) {
	s.count.DroppedExpired += uint64(d.Expired)
	s.count.DroppedSize += uint64(d.TooLarge)
}

// pump sends what a session may send now, as far as there is room for it.
func (s *shard) pump(c *conn) {
	cl := c.client
	cl.session.Link.Hold = false
	out, dropped := cl.session.Pump(s.out[:0], s.roomFor(c), s.now)
	s.pumped(c, out, dropped)
}

// roomFor is how many bytes may be sent to a client before too much is pending.
func (s *shard) roomFor(c *conn) int { return s.budget.pending - c.net.Pending() }

// pumped sends what a session wants to, and holds back what it has beyond the
// room there was.
func (s *shard) pumped(c *conn, out []byte, dropped session.Drops) {
	s.countDrops(dropped)
	s.put(c, out)
	if c.client.session.Link.Hold {
		s.hold(c)
	}
	s.passRefused(dropped)
	s.serve(c.client)
}

// serve does what has to follow everything that changes what a session has under
// way or waiting.
func (s *shard) serve(cl *client) {
	if cl.stored() {
		if s.disk.begun {
			s.disk.begun = false
			turn := s.disk.lastTurn()
			s.promise(promise{then: func() { s.written(cl, turn) }})
		}
		s.fetch(cl)
	}
	if cl.shares() {
		s.account(cl)
	}
}

// written goes on with QoS 2 exchanges whose identifiers are on disk.
func (s *shard) written(cl *client, turn uint64) {
	cl.session.Committed(turn)
	if c := cl.online(); c != nil && c.pace == inTime {
		s.pump(c)
	}
}

// fetch reads the contents of messages that a client gets next.
func (s *shard) fetch(cl *client) {
	if cl.fetching || cl.online() == nil || s.budget.shut && cl.conn.pace != inTime {
		return // pump will come back when the client may go on
	}
	items := cl.session.Wanted(nil)
	if len(items) == 0 {
		return
	}
	cl.fetching = true
	s.read(items, func(results []store.Result) {
		cl.fetching = false
		s.supply(cl, results)
	})
}

// read reads messages and hands them to then, on this shard.
func (s *shard) read(items []message.Stored, then func([]store.Result)) {
	s.b.cfg.Store.Fetch(&store.Fetch{Shard: s.index, Turn: s.disk.lastTurn(), Items: items, Done: func(results []store.Result) {
		s.b.runner.Post(s.index, func() {
			s.readClock()
			then(results)
		})
	}})
}

// supply gives a session contents that were read.
func (s *shard) supply(cl *client, results []store.Result) {
	if s.clients.Get(cl.id) != cl {
		return
	}
	for _, r := range results {
		if r.Err != nil {
			if cl.session.Lost(r.Key) {
				s.lost(r)
			}
			continue
		}
		s.budget.charge(r.Message.Size())
		cl.session.Supply(r.Key, r.Message)
	}
	if c := cl.online(); c != nil && c.pace == inTime {
		s.pump(c)
	}
}

// lost counts a message that can't be read.
func (s *shard) lost(r store.Result) {
	s.count.DroppedDamaged++
	s.log.Error("a stored message can't be read and is lost", "error", r.Err)
}

// dropPending counts a QoS 0 message that a reader does not get because it is
// behind by that many bytes.
func (s *shard) dropPending(bytes int) {
	if bytes > s.settings.pending {
		s.count.DroppedSlow++
	} else {
		s.count.DroppedMemory++
	}
}

// hold keeps QoS 1 and 2 messages for a slow reader in its session until the
// kernel has taken what is pending.
func (s *shard) hold(c *conn) {
	if s.slow.hold(c, s.now) {
		s.timers.start(&c.timer, s.due(c))
	}
}

// overdue reports whether a client makes the broker pile up answers: it goes on
// asking, and takes less than it asks for.
func (s *shard) overdue(c *conn) bool {
	limit, pending := s.settings.pending, c.net.Pending()
	if s.budget.pressure >= SlowPublishers && pending > pendingUnderPressure && !c.closing {
		s.stall(c) // it gets no more answers than it asks for in a round
	}
	if c.closing || pending <= limit {
		return false
	}
	s.hold(c)
	return s.slow.pilesUp(c, limit)
}
