package broker

import (
	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
)

// handOver gives the messages of a shared subscription that a client has not
// begun to get to others of the group. Without any, it may go on to get them (MQTT
// 5.0 section 3.10.4).
func (s *shard) handOver(cl *client, g *group) {
	if g.Ended() {
		return
	}
	var missing []session.Taken
	cl.session.TakeShared(g, func(t session.Taken) { s.passOrMiss(t, &missing, nil) })
	s.passMissing(missing, nil)
	s.serve(cl)
}

// handOverAll gives the messages that a session leaves behind, of all its shared
// subscriptions and those that it had before, to others of the groups: those that
// it has not acknowledged too.
func (s *shard) handOverAll(cl *client, e *ending) {
	var missing []session.Taken
	cl.session.TakeAllShared(func(t session.Taken) {
		g := t.Group.(*group)
		if g.Ended() { // another may have its name
			g = s.b.interest.Group(g.Name)
		}
		if g == nil {
			s.count.DroppedGroup++
			if t.Stored.Key != 0 {
				s.disk.Finish(cl.session.Number, t.Stored)
			}
			return
		}
		t.Group = g
		e.begin()
		s.passOrMiss(t, &missing, e)
	})
	s.passMissing(missing, e)
}

// passOrMiss passes a message on, unless its contents must be read.
func (s *shard) passOrMiss(t session.Taken, missing *[]session.Taken, e *ending) {
	if t.Message == nil {
		*missing = append(*missing, t)
		return
	}
	s.passOn(t.Group.(*group), t.Message, t.Stored, e)
}

// passRefused passes on what was too large for a client. It uses the memory that
// packets to send are in.
func (s *shard) passRefused(d session.Drops) {
	for _, r := range d.Refused {
		s.passOn(r.Group.(*group), r.Message, r.Stored, nil)
	}
}

// passMissing passes on messages whose contents must be read, some at a time.
func (s *shard) passMissing(missing []session.Taken, e *ending) {
	n := min(len(missing), 64)
	if n == 0 {
		return
	}
	items := make([]message.Stored, n)
	for i := range items {
		items[i] = missing[i].Stored
	}
	s.read(items, func(results []store.Result) {
		for i, r := range results {
			if r.Err != nil {
				s.lost(r)
				s.disk.turn().DeleteReceivers(recordOf(items[i]))
				s.count.gone(items[i])
				e.end(s)
				continue
			}
			s.passOn(missing[i].Group.(*group), r.Message, items[i], e)
		}
		s.passMissing(missing[n:], e)
	})
}

// passOn gives a message that a member had to another. The old record stays
// until the new one is on disk.
func (s *shard) passOn(g *group, m *message.Message, old message.Stored, e *ending) {
	key := s.renumber(old, m.QoS)
	var packed *message.Parcel
	s.waited = true
	defer func() { s.waited = false }()
	s.routeGroup(g, m, &packed, routing.FromMember, key)
	e.end(s)
}

// renumber gives a message that another session gets a new key, 0 if it is not
// on disk. The old record goes when the new one is there. qos is the publisher's:
// the turn that wrote down a packet identifier of QoS 2 takes back the message
// under its old key only, so it must be complete before the new one counts.
func (s *shard) renumber(old message.Stored, qos packet.QoS) message.Key {
	if old.Key == 0 {
		return 0
	}
	seq := s.b.cfg.Store.NextSeq()
	s.disk.turn().Undecided(seq, true)
	s.disk.turn().FinallyDeleteReceivers(recordOf(old))
	if qos == 2 {
		s.disk.turn().Behind = true
	}
	s.count.gone(old)
	return message.NewKey(seq, store.PartOwn)
}

// recordOf is the record of a message with one receiver.
func recordOf(m message.Stored) store.Record {
	return store.Record{Key: m.Key, Sole: true, Separate: store.IsSeparate(1, m.Size)}
}

// ending is the end of a stored session whose messages go to other members of
// its groups. Its record stays until they have them.
type ending struct {
	number uint64
	shares []string // its shared subscriptions: without them a start would not know whose the messages are
	open   int      // messages that are not passed on yet
	any    bool
	sealed bool // there will be no more
}

// begin counts a message; e may be nil.
func (e *ending) begin() {
	if e != nil {
		e.open++
		e.any = true
	}
}

// end counts one that was passed on.
func (e *ending) end(s *shard) {
	if e == nil {
		return
	}
	e.open--
	e.finish(s)
}

// finish forgets the session if nothing of it is left.
func (e *ending) finish(s *shard) {
	if !e.sealed || e.open > 0 || e.number == 0 {
		return
	}
	for _, filter := range e.shares {
		s.disk.turn().FinallyDeleteSubscription(e.number, filter)
	}
	if e.any {
		s.disk.turn().FinallyDeleteSession(e.number)
	} else {
		s.disk.turn().DeleteSession(e.number)
	}
}

// setOnline makes known to other shards whether a client with shared subscriptions is
// connected.
func (s *shard) setOnline(cl *client, online bool) {
	if !cl.shares() {
		return
	}
	if online {
		s.present(cl)
		s.wakeQueues(cl)
		return
	}
	cl.rare.Disconnect()
	for sub := range cl.subs.All {
		if sub.Group != nil && sub.Group.TakesBack() {
			s.handOver(cl, sub.Group)
		}
	}
	s.wakeQueues(cl) // what waits for this one may go to another now
}
