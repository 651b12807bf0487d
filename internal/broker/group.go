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
//
// Messages that no member can take now wait with the group, in its queue.
type group struct {
	name  groupName
	ref   topic.Ref // in interest.groups
	home  int       // the shard that owns:
	queue *queue    // nil until something has to wait

	mu      sync.Mutex
	members []member
	turn    int  // of the member that got the last message, -1: none has
	kept    int  // members whose messages are on disk
	lasting int  // members for whose sake messages wait in the queue
	coming  int  // messages that were posted to the queue and are not there yet
	waiting int  // messages in the queue
	ended   bool // the last member has left; another group may have the name
}

// member is a session's part in a group.
type member struct {
	client  *client // only its shard looks into it, but for:
	state   *consumer
	who     *identity
	shard   int
	qos     packet.QoS
	id      uint32 // subscription identifier, 0 for none
	rap     bool   // Retain As Published
	stored  bool   // its session is on disk, and so are its messages
	lasting bool   // its session outlives its connection
}

// consumer is what all shards may know of a client that has shared
// subscriptions. Its own shard writes it, but for load.
type consumer struct {
	window atomic.Int32  // its Receive Maximum; 0: it is not connected
	most   atomic.Uint32 // its Maximum Packet Size, 0 for none
	load   atomic.Int32  // messages above QoS 0 that it has, and those on their way to it
	wanted atomic.Int32  // below this load its shard tells its groups; 0: none waits
	known  int32         // of load, what its session has
}

func (m *member) online() bool { return m.state.window.Load() > 0 }

// takes tells whether the client of a member that is connected takes a packet
// of the size of a message (MQTT-3.1.2-24).
func (m *member) takes(msg *message.Message) bool {
	most := m.state.most.Load()
	if most == 0 {
		return true
	}
	p := packet.Publish{QoS: min(msg.QoS, m.qos), ID: 1, Topic: msg.Topic, Payload: msg.Payload}
	p.Properties.Forward, p.Properties.HasExpiry = msg.Properties, msg.Expires != 0
	if m.id != 0 {
		p.Properties.SubscriptionIDs = []uint32{m.id}
	}
	return p.Size(packet.V5) <= int(most)
}

// join adds a member to a group, or changes its options.
func (n *interest) join(name groupName, m member, shards int) *group {
	n.mu.Lock()
	g := n.named[name]
	if g == nil {
		g = &group{name: name, turn: -1, home: shardOf([]byte(name.queueID()), shards)}
		g.ref = n.groups.Add(name.filter, g)
		n.named[name] = g
		n.changed(name.filter)
	}
	// Under n.mu, so that the group can't end between here and there.
	g.mu.Lock()
	if i := g.index(m.client); i >= 0 {
		g.count(&g.members[i], -1)
		g.members[i] = m
	} else {
		g.members = append(g.members, m)
	}
	g.count(&m, 1)
	g.mu.Unlock()
	n.mu.Unlock()
	return g
}

// count counts a member that joins or leaves.
func (g *group) count(m *member, n int) {
	if m.qos == 0 {
		return
	}
	if m.stored {
		g.kept += n
	}
	if m.lasting {
		g.lasting += n
	}
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
	g.count(&g.members[i], -1)
	g.members = slices.Delete(g.members, i, i+1)
	if g.turn >= i {
		g.turn--
	}
	if len(g.members) == 0 {
		n.groups.Remove(g.ref)
		delete(n.named, g.name)
		n.changed(g.name.filter)
		g.ended = true
	}
}

func (g *group) index(c *client) int {
	return slices.IndexFunc(g.members, func(m member) bool { return m.client == c })
}

// member returns the member that a client is; ok is false if it has left.
func (g *group) member(c *client) (m member, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.index(c)
	if i < 0 {
		return m, false
	}
	return g.members[i], true
}

// origin is where a message comes from that a group gets.
type origin uint8

const (
	fresh   origin = iota // a publisher: it goes behind what waits
	again                 // a member that had it
	delayed               // the queue
)

// choice is what becomes of a message.
type choice uint8

const (
	toNobody choice = iota
	toMember
	toAway   // a member that is not connected; the message waits with it
	toQueue  // the group
	tooLarge // all that are connected take only smaller ones
	noRight  // nobody may receive it
)

// pick chooses who gets a message. Members that are connected and have room come
// first. A message that must not be lost waits with the group if there is no
// such member, or without a queue with a member.
func (g *group) pick(m *message.Message, from origin, f *inForce) (to member, c choice) {
	g.mu.Lock()
	defer g.mu.Unlock()
	queues := g.lasting > 0 && m.QoS > 0 && from != delayed
	if queues && from == fresh && g.coming+g.waiting > 0 && g.draining() {
		g.coming++
		return to, toQueue
	}
	share := g.share(from)
	best, full, large, barred := -1, -1, false, false
	for i := range g.members {
		at := g.after(i, f.strategy)
		m2 := &g.members[at]
		qos := min(m.QoS, m2.qos)
		switch {
		case !m2.online() || from == delayed && qos == 0:
			continue
		case !m2.who.mayReceive(m.Topic):
			barred = true
			continue
		case !m2.takes(m):
			large = true
			continue
		case qos > 0 && m2.state.load.Load() >= min(m2.state.window.Load(), f.window, share):
			if full < 0 || f.strategy == leastInflight && g.less(at, full) {
				full = at
			}
		case best < 0 || g.less(at, best):
			best = at
		}
		if f.strategy == sticky || f.strategy == roundRobin && best >= 0 {
			break
		}
	}
	if best < 0 && full >= 0 && !queues && from != delayed {
		best = full
	}
	switch {
	case best >= 0:
		c = toMember
	case full < 0 && m.QoS > 0 && (large || barred || !queues && from != delayed):
		if best, c = g.away(m.Topic, f.strategy), toAway; best < 0 {
			c = toNobody
		}
	case queues:
		g.coming++
		return to, toQueue
	}
	if best < 0 {
		switch {
		case full >= 0:
		case large:
			c = tooLarge
		case barred:
			c = noRight
		}
		return to, c
	}
	g.turn = best
	to = g.members[best]
	if min(m.QoS, to.qos) > 0 {
		to.state.load.Add(1) // until it is there
	}
	return to, c
}

func (g *group) less(a, b int) bool {
	return g.members[a].state.load.Load() < g.members[b].state.load.Load()
}

// draining tells whether somebody takes what is in the queue.
func (g *group) draining() bool {
	return slices.ContainsFunc(g.members, func(m member) bool { return m.qos > 0 && m.online() })
}

// away is a member that is not connected and with which a message can wait, -1
// if there is none.
func (g *group) away(topic []byte, by strategy) int {
	for i := range g.members {
		at := g.after(i, by)
		if m := &g.members[at]; m.qos > 0 && !m.online() && m.who.mayReceive(topic) {
			return at
		}
	}
	return -1
}

// after is the index of the i-th candidate.
func (g *group) after(i int, by strategy) int {
	if by == sticky {
		return (max(g.turn, 0) + i) % len(g.members)
	}
	return (g.turn + 1 + i) % len(g.members)
}

// routeGroup gives a message to a member of g, or to its queue. It reports
// false if the publisher must wait.
func (s *shard) routeGroup(g *group, m *message.Message, kept **message.Message, from origin, key message.Key) bool {
	to, choice := g.pick(m, from, s.settings)
	switch choice {
	case toMember, toAway:
		return s.give(g, to, choice, m, kept, key)
	case toQueue:
		if g.home != s.index {
			return s.mail(g.home, m, kept, letter{group: g, key: key})
		}
		s.deposit(g, m, key)
	case tooLarge:
		s.count.DroppedSize++
	case noRight:
		s.count.DroppedRight++
	default:
		s.count.DroppedGroup++
	}
	return true
}

// give gives a message to the member that was picked. It reports false if the
// publisher must wait.
func (s *shard) give(g *group, to member, c choice, m *message.Message, kept **message.Message, key message.Key) bool {
	counted := min(m.QoS, to.qos) > 0
	if to.shard != s.index {
		return s.mail(to.shard, m, kept, letter{group: g, member: to.client, away: c == toAway, counted: counted, key: key})
	}
	if counted {
		to.state.load.Add(-1)
	}
	s.deliverShared(g, to, m, key)
	return true
}

// deliverMember gives a message from another shard to the member that was
// picked there, or picks again if that has left, lost its connection or come
// back with a smaller Maximum Packet Size.
func (s *shard) deliverMember(l *letter, m *message.Message) {
	g, c := l.group, l.member
	if c == nil {
		s.deposit(g, m, l.key)
		return
	}
	if l.counted {
		c.rare.load.Add(-1)
	}
	to, ok := g.member(c)
	if !ok || !to.online() && !l.away || to.online() && !to.takes(m) || !to.who.mayReceive(m.Topic) {
		s.routeGroup(g, m, &l.kept, again, l.key)
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
	return g.kept > 0
}

// handOver gives the messages of a shared subscription that a client has not
// begun to get to others of the group. Without any, it may go on to get them (MQTT
// 5.0 section 3.10.4).
func (s *shard) handOver(cl *client, g *group) {
	if g.over() {
		return
	}
	var missing []session.Taken
	cl.session.TakeShared(g, func(t session.Taken) { s.passOrMiss(t, &missing, nil) })
	s.passMissing(missing, nil)
	s.tend(cl)
}

// handOverAll gives the messages that a session leaves behind, of all its shared
// subscriptions and those that it had before, to others of the groups: those that
// it has not acknowledged too.
func (s *shard) handOverAll(cl *client, e *ending) {
	var missing []session.Taken
	cl.session.TakeAllShared(func(t session.Taken) {
		g := t.Group.(*group)
		if g.over() { // another may have its name
			g = s.b.interest.find(g.name)
		}
		if g == nil {
			s.count.DroppedGroup++
			if t.Stored.Key != 0 {
				s.Finished(cl.session.Number, t.Stored)
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

// over tells that the group has no members any more.
func (g *group) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// find is the group of a name, nil if it has no members.
func (n *interest) find(name groupName) *group {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.named[name]
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
				s.disk().DropReceivers(recordOf(items[i]))
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
	var kept *message.Message
	s.routeGroup(g, m, &kept, again, key)
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
	s.disk().Undecided(seq, true)
	s.disk().FinallyDropReceivers(recordOf(old))
	if qos == 2 {
		s.disk().Behind = true
	}
	s.count.gone(old)
	return message.NewKey(seq, store.PartOwn)
}

// recordOf is the record of a message with one receiver.
func recordOf(m message.Stored) store.Record {
	return store.Record{Key: m.Key, Sole: true, Apart: store.LiesApart(1, m.Size)}
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
		s.disk().FinallyDropSubscription(e.number, filter)
	}
	if e.any {
		s.disk().FinallyDropSession(e.number)
	} else {
		s.disk().DropSession(e.number)
	}
}

// takesBack tells whether somebody can have what a member that is away has not
// begun to get: the queue, or a member that is connected.
func (g *group) takesBack() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	return g.lasting > 0 || slices.ContainsFunc(g.members, func(m member) bool { return m.online() })
}
