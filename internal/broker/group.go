package broker

import (
	"slices"
	"sync"
	"sync/atomic"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/session"
	"midge/internal/store"
	"midge/internal/topic"
)

// group is a shared subscription (MQTT 5.0 section 4.8.2): members of all
// shards, of which one gets each message. The publisher's shard picks it and
// posts to its shard; if the member has gone meanwhile, that shard picks again.
// So a message has one owner at any time and is never delivered to two.
type group struct {
	name     groupName
	ref      topic.Ref // in interest.groups
	strategy Strategy

	mu      sync.Mutex
	members []member
	turn    int // of the member that got the last message, -1: none has
}

// member is a session's part in a group.
type member struct {
	client *client       // only its shard looks into it
	load   *atomic.Int32 // of client
	shard  int
	qos    packet.QoS
	id     uint32 // subscription identifier, 0 for none
	rap    bool   // Retain As Published
	online bool
	stored bool // its session is on disk, and so are its messages
}

// join adds a member to a group, or changes its options.
func (n *interest) join(name groupName, m member, strategy Strategy) *group {
	n.mu.Lock()
	g := n.named[name]
	if g == nil {
		g = &group{name: name, strategy: strategy, turn: -1}
		g.ref = n.groups.Add(name.filter, g)
		n.named[name] = g
		n.changed(name.filter)
	}
	// Under n.mu, so that the group can't end between here and there.
	g.mu.Lock()
	if i := g.index(m.client); i >= 0 {
		g.members[i] = m
	} else {
		g.members = append(g.members, m)
	}
	g.mu.Unlock()
	n.mu.Unlock()
	return g
}

// leave removes a member, and the group with the last one.
func (n *interest) leave(g *group, c *client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.index(c)
	if i < 0 {
		return
	}
	g.members = slices.Delete(g.members, i, i+1)
	if g.turn >= i {
		g.turn--
	}
	if len(g.members) == 0 {
		n.groups.Remove(g.ref)
		delete(n.named, g.name)
		n.changed(g.name.filter)
	}
}

func (g *group) index(c *client) int {
	return slices.IndexFunc(g.members, func(m member) bool { return m.client == c })
}

// setOnline tells whether the client of a member is connected.
func (g *group) setOnline(c *client, online bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := g.index(c); i >= 0 {
		g.members[i].online = online
	}
}

// pick chooses the member for a message of the given QoS. Members that are
// connected come first; a message that must not be lost waits with one that is
// away if there is no other.
func (g *group) pick(qos packet.QoS) (m member, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	best := -1
	for i := range g.members {
		at := g.after(i)
		c := &g.members[at]
		switch {
		case !c.online:
			continue
		case best < 0:
			best = at
		case g.strategy == LeastInflight && c.load.Load() < g.members[best].load.Load():
			best = at
		}
		if g.strategy != LeastInflight {
			break
		}
	}
	for i := 0; best < 0 && qos > 0 && i < len(g.members); i++ {
		if at := g.after(i); g.members[at].qos > 0 {
			best = at
		}
	}
	if best < 0 {
		return member{}, false
	}
	g.turn = best
	if g.strategy == LeastInflight {
		g.members[best].load.Add(1) // until its shard knows better
	}
	return g.members[best], true
}

// after is the index of the i-th candidate.
func (g *group) after(i int) int {
	if g.strategy == Sticky {
		return (max(g.turn, 0) + i) % len(g.members)
	}
	return (g.turn + 1 + i) % len(g.members)
}

// mostTries bounds how often a message looks for another member.
const mostTries = 8

// routeGroup gives a message to a member of g. It reports false if the
// publisher must wait.
func (s *shard) routeGroup(g *group, m *message.Message, kept **message.Message, tries uint8, key message.Key) bool {
	to, ok := g.pick(m.QoS)
	if !ok || tries > mostTries {
		s.count.DroppedGroup++
		return true
	}
	if to.shard != s.index {
		return s.mail(to.shard, m, kept, letter{group: g, member: to.client, tries: tries, key: key})
	}
	s.deliverShared(g, to, m, key)
	return true
}

// deliverMember gives a message from another shard to the member that was
// picked there, or picks again.
func (s *shard) deliverMember(l *letter, m *message.Message) {
	g, c := l.group, l.member
	g.mu.Lock()
	i := g.index(c)
	var to member
	if i >= 0 {
		to = g.members[i]
	}
	g.mu.Unlock()
	if i < 0 || c.online() == nil && l.tries == 0 {
		s.routeGroup(g, m, &l.kept, l.tries+1, l.key)
		return
	}
	s.deliverShared(g, to, m, l.key)
}

// deliverShared gives a message to a member of this shard.
func (s *shard) deliverShared(g *group, to member, m *message.Message, key message.Key) {
	s.lend(m)
	if to.id == 0 && min(m.QoS, to.qos) == 0 {
		s.deliverDirect(to.client, m, m.Retain && to.rap)
		return
	}
	var ids []uint32
	if to.id != 0 {
		ids = []uint32{to.id}
	}
	qos := min(m.QoS, to.qos)
	n := 0
	if to.stored && qos > 0 {
		n = 1
		s.books.receivers = store.AppendReceiver(s.books.receivers[:0], &store.Receiver{
			Session: to.client.session.Number, QoS: qos, Retain: m.Retain && to.rap, IDs: ids, Share: g.name.String(),
		})
	}
	if s.b.cfg.Store != nil {
		key = s.writeReceivers(n, m, key)
	}
	s.enqueue(to.client, m, qos, m.Retain && to.rap, ids, g, key, true)
}

// String is the name as clients write it.
func (n groupName) String() string { return "$share/" + n.name + "/" + n.filter }

// stored tells whether the group has a member whose messages are kept on disk.
func (g *group) stored() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.members, func(m member) bool { return m.stored && m.qos > 0 })
}

// empty tells whether the group has no members.
func (g *group) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members) == 0
}

// handOver gives the messages of a shared subscription that a client has not
// begun to get to other members. e is set if the session ends.
func (s *shard) handOver(cl *client, g *group, e *ending) {
	if g.empty() {
		return
	}
	var missing []message.Stored
	cl.session.TakeShared(g, func(m session.Taken) {
		e.begin()
		if m.Message == nil {
			missing = append(missing, m.Stored)
			return
		}
		s.passOn(g, m.Message, m.Stored, e)
	})
	s.passMissing(g, missing, e)
	s.tend(cl)
}

// passMissing passes on messages whose contents must be read, some at a time.
func (s *shard) passMissing(g *group, missing []message.Stored, e *ending) {
	n := min(len(missing), 64)
	if n == 0 {
		return
	}
	s.read(missing[:n], func(results []store.Result) {
		for i, r := range results {
			if r.Err != nil {
				s.lost(r)
				s.disk().DropReceivers(recordOf(missing[i]))
				s.count.gone(missing[i])
				e.end(s)
				continue
			}
			s.passOn(g, r.Message, missing[i], e)
		}
		s.passMissing(g, missing[n:], e)
	})
}

// passOn gives a message that a member had to another. The old record stays
// until the new one is on disk.
func (s *shard) passOn(g *group, m *message.Message, old message.Stored, e *ending) {
	var key message.Key
	if old.Key != 0 {
		seq := s.b.cfg.Store.NextSeq()
		key = message.NewKey(seq, store.PartOwn)
		s.disk().Undecided(seq, true)
		s.disk().FinallyDropReceivers(recordOf(old))
		s.count.gone(old)
	}
	var kept *message.Message
	s.routeGroup(g, m, &kept, 0, key)
	e.end(s)
}

// recordOf is the record of a message with one receiver.
func recordOf(m message.Stored) store.Record {
	return store.Record{Key: m.Key, Sole: true, Apart: store.LiesApart(1, m.Size)}
}

// ending is the end of a stored session whose messages go to other members of
// its groups. Its record stays until they have them.
type ending struct {
	number uint64
	open   int // messages that are not passed on yet
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
	if e.sealed && e.open == 0 && e.number != 0 {
		s.disk().FinallyDropSession(e.number)
	}
}

// anyOnline tells whether a member is connected.
func (g *group) anyOnline() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.members, func(m member) bool { return m.online })
}
