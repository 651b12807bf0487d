package routing

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/topic"
)

// GroupName is what the members of a group have subscribed to.
type GroupName struct {
	Share  string // ShareName
	Filter string // without $share
	Mount  int    // length of the mount point of its members, with which Filter begins; see Client
}

// mountMark stands behind the mount point in the filter of a shared subscription, so
// that clients with another mount point, or none, are not in the same group.
const mountMark = "\x00"

// String is the name as clients write it, if they have no mount point; see FilterOf.
func (n GroupName) String() string {
	return FilterOf("$share/"+n.Share+"/"+n.Filter[n.Mount:], n.Filter[:n.Mount])
}

// FilterOf is what a filter that a client has written is, if it has a mount point: it
// begins with that, or has it behind $share/NAME/.
func FilterOf(written, mount string) string {
	if mount == "" {
		return written
	}
	share, filter, shared, err := topic.ParseShared(written)
	if !shared || err != nil {
		return mount + written
	}
	return "$share/" + share + "/" + mount + mountMark + filter
}

// ParseFilter finds the group that a filter names. Of one that is not shared, only Filter
// is set.
func ParseFilter(filter string) (name GroupName, shared bool, err error) {
	name.Share, name.Filter, shared, err = topic.ParseShared(filter)
	if mount, rest, mounted := strings.Cut(name.Filter, mountMark); shared && mounted {
		name.Filter, name.Mount = mount+rest, len(mount)
	}
	return name, shared, err
}

// Group is a shared subscription (MQTT 5.0 section 4.8.2): members of all
// shards, of which one gets each message. The publisher's shard picks it and
// posts to its shard; if the member has gone meanwhile, that shard picks again.
// So a message has one owner at any time and is never delivered to two.
//
// Messages that no member can take now wait in the group's queue, which is the
// caller's: the group counts what is in it.
type Group[C Client] struct {
	Name GroupName
	Home int       // the shard that has its queue
	ref  topic.Ref // in Interest.groups

	mu        sync.Mutex
	members   []Member[C]
	at        map[C]int // where in members a client is; nil while there are few
	turn      int       // of the member that got the last message, -1: none has
	persisted int       // members whose messages are persisted
	lasting   int       // members for whose sake messages wait in the queue
	coming    int       // messages that were posted to the queue and are not there yet
	waiting   int       // messages in the queue
	ended     bool      // the last member has left; another group may have the name
}

// Member is a session's part in a group.
type Member[C Client] struct {
	Client            C // only its shard looks into it, but for:
	Consumer          *Consumer
	Identity          *Identity
	Shard             int
	QoS               packet.QoS
	Mount             uint16 // see Client
	ID                uint32 // Subscription Identifier, 0 for none
	RetainAsPublished bool
	Persistent        bool // its session is on disk, and so are its messages
	Lasting           bool // its session outlives its connection, and messages for it wait with the group
}

// Consumer is what all shards may know of a client that has shared
// subscriptions. Its own shard writes it, but for load.
type Consumer struct {
	window    atomic.Int32  // its Receive Maximum; 0: it is not connected
	maxPacket atomic.Uint32 // its Maximum Packet Size, 0 for none
	load      atomic.Int32  // messages above QoS 0 that it has, and those on their way to it
	wanted    atomic.Int32  // below this load its shard tells its groups; 0: none waits
	known     int32         // of load, what its session has
}

// Connect makes known that the client is connected, with its Receive Maximum and
// Maximum Packet Size (0 for none).
func (c *Consumer) Connect(receiveMaximum int, maxPacket uint32) {
	c.maxPacket.Store(maxPacket)
	c.window.Store(int32(receiveMaximum))
}

// Disconnect makes known that it is not.
func (c *Consumer) Disconnect() {
	c.window.Store(0)
	c.wanted.Store(0)
}

// Account makes known how many messages the client's session has. It reports
// whether a group waits for it to have so few.
func (c *Consumer) Account(n int) (room bool) {
	load := c.load.Add(int32(n) - c.known)
	c.known = int32(n)
	if w := c.wanted.Load(); w > 0 && load < w {
		c.wanted.Store(0)
		return true
	}
	return false
}

// Arrived takes a message above QoS 0 that was picked for the client off its way
// to it: it is there, or has gone elsewhere.
func (c *Consumer) Arrived() { c.load.Add(-1) }

// Online reports whether the client is connected.
func (m *Member[C]) Online() bool { return m.Consumer.window.Load() > 0 }

// Takes reports whether the client of a member that is connected takes a packet
// of the size of a message (MQTT-3.1.2-24).
func (m *Member[C]) Takes(msg *message.Message) bool {
	limit := m.Consumer.maxPacket.Load()
	if limit == 0 {
		return true
	}
	p := packet.Publish{QoS: min(msg.QoS, m.QoS), ID: 1, Topic: msg.Topic[m.Mount:], Payload: msg.Payload}
	p.Properties.Forward, p.Properties.HasExpiry = msg.Properties, msg.Expires != 0
	if m.ID != 0 {
		p.Properties.SubscriptionIDs = []uint32{m.ID}
	}
	return p.Size(packet.V5) <= int(limit)
}

// Join adds a member to a group, or changes its options. home is the shard of
// the group's queue.
func (n *Interest[C]) Join(name GroupName, m Member[C], home int) *Group[C] {
	n.mu.Lock()
	g := n.named[name]
	if g == nil {
		g = &Group[C]{Name: name, turn: -1, Home: home}
		g.ref = n.groups.Add(name.Filter, g)
		n.named[name] = g
		n.changed(name.Filter)
	}
	// Under n.mu, so that the group can't end between here and there.
	g.mu.Lock()
	if i := g.index(m.Client); i >= 0 {
		g.count(&g.members[i], -1)
		g.members[i] = m
	} else {
		g.add(m)
	}
	g.count(&m, 1)
	g.mu.Unlock()
	n.mu.Unlock()
	return g
}

// count counts a member that joins or leaves.
func (g *Group[C]) count(m *Member[C], n int) {
	if m.QoS == 0 {
		return
	}
	if m.Persistent {
		g.persisted += n
	}
	if m.Lasting {
		g.lasting += n
	}
}

// Leave removes a member, and the group with the last one.
func (n *Interest[C]) Leave(g *Group[C], client C) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.index(client)
	if i < 0 {
		return
	}
	g.count(&g.members[i], -1)
	g.remove(i)
	if len(g.members) == 0 {
		n.groups.Remove(g.ref)
		delete(n.named, g.Name)
		n.changed(g.Name.Filter)
		g.ended = true
	}
}

// indexFrom is how many members a group has an index of.
const indexFrom = 32

func (g *Group[C]) add(m Member[C]) {
	g.members = append(g.members, m)
	switch n := len(g.members); {
	case g.at != nil:
		g.at[m.Client] = n - 1
	case n >= indexFrom:
		g.at = make(map[C]int, n)
		for i := range g.members {
			g.at[g.members[i].Client] = i
		}
	}
}

// remove removes a member. The last one takes its place.
func (g *Group[C]) remove(i int) {
	last := len(g.members) - 1
	if g.at != nil {
		delete(g.at, g.members[i].Client)
		if i < last {
			g.at[g.members[last].Client] = i
		}
	}
	g.members[i] = g.members[last]
	g.members[last] = Member[C]{}
	g.members = g.members[:last]
	switch g.turn {
	case i: // the one that has taken the place is next
		g.turn = i - 1
	case last:
		g.turn = last - 1
	}
}

func (g *Group[C]) index(client C) int {
	if g.at != nil {
		if i, ok := g.at[client]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(g.members, func(m Member[C]) bool { return m.Client == client })
}

// Member returns the member that a client is; ok is false if it has left.
func (g *Group[C]) Member(client C) (m Member[C], ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.index(client)
	if i < 0 {
		return m, false
	}
	return g.members[i], true
}

// Origin is where a message comes from that a group gets.
type Origin uint8

// The origins of messages.
const (
	FromPublisher Origin = iota // it goes behind what waits in the queue
	FromMember                  // that had it
	FromQueue
)

// Choice is what becomes of a message.
type Choice uint8

// The choices of Pick.
const (
	ToNobody   Choice = iota
	ToMember          // one that is connected
	ToAway            // a member that is not connected; the message waits with it
	ToQueue           // of the group
	TooLarge          // all that are connected take only smaller ones
	NotAllowed        // nobody may receive it
)

// Strategy chooses the member of a group that gets a message.
type Strategy uint8

// The strategies.
const (
	RoundRobin    Strategy = iota // each in turn
	Sticky                        // the same as before while it is connected
	LeastInflight                 // the one with the fewest unacknowledged messages
)

// Sharing is how groups share messages out.
type Sharing struct {
	Strategy Strategy
	Window   int32 // maximum of messages above QoS 0 that a member has at a time
}

// lookAt is how many members that are connected Pick compares, so that a large group
// costs as much as a small one. The next message begins behind the one that was picked.
const lookAt = 64

// Pick chooses who gets a message. Members that are connected and have room come
// first. A message that must not be lost waits in the queue if there is no
// such member, or without a queue with a member. A message above QoS 0 for the
// member that was picked counts in its load until Consumer.Arrived.
func (g *Group[C]) Pick(m *message.Message, from Origin, by Sharing) (to Member[C], c Choice) {
	g.mu.Lock()
	defer g.mu.Unlock()
	queues := g.lasting > 0 && m.QoS > 0 && from != FromQueue
	if queues && from == FromPublisher && g.coming+g.waiting > 0 && g.draining() {
		g.coming++
		return to, ToQueue
	}
	share := g.share(from)
	best, full, large, barred := -1, -1, false, false
	look := lookAt
	for i := range g.members {
		at := g.after(i, by.Strategy)
		m2 := &g.members[at]
		qos := min(m.QoS, m2.QoS)
		switch {
		case !m2.Online() || from == FromQueue && qos == 0:
			continue
		case !m2.Identity.MayReceive(m.Topic):
			barred = true
			continue
		case !m2.Takes(m):
			large = true
			continue
		case qos > 0 && m2.Consumer.load.Load() >= min(m2.Consumer.window.Load(), by.Window, share):
			if full < 0 || by.Strategy == LeastInflight && g.less(at, full) {
				full = at
			}
		case best < 0 || g.less(at, best):
			best = at
		}
		if look--; look <= 0 && (best >= 0 || !queues && from != FromQueue) {
			break
		}
		if by.Strategy == Sticky || by.Strategy == RoundRobin && best >= 0 {
			break
		}
	}
	if best < 0 && full >= 0 && !queues && from != FromQueue {
		best = full
	}
	switch {
	case best >= 0:
		c = ToMember
	case full < 0 && m.QoS > 0 && (large || barred || !queues && from != FromQueue):
		if best, c = g.away(m.Topic, by.Strategy), ToAway; best < 0 {
			c = ToNobody
		}
	case queues:
		g.coming++
		return to, ToQueue
	}
	if best < 0 {
		switch {
		case full >= 0:
		case large:
			c = TooLarge
		case barred:
			c = NotAllowed
		}
		return to, c
	}
	g.turn = best
	to = g.members[best]
	if min(m.QoS, to.QoS) > 0 {
		to.Consumer.load.Add(1)
	}
	return to, c
}

func (g *Group[C]) less(a, b int) bool {
	return g.members[a].Consumer.load.Load() < g.members[b].Consumer.load.Load()
}

// draining reports whether somebody takes what is in the queue.
func (g *Group[C]) draining() bool {
	return slices.ContainsFunc(g.members, func(m Member[C]) bool { return m.QoS > 0 && m.Online() })
}

// away is a member that is not connected and with which a message can wait, -1
// if there is none.
func (g *Group[C]) away(topic []byte, by Strategy) int {
	for i := range g.members {
		at := g.after(i, by)
		if m := &g.members[at]; m.QoS > 0 && !m.Online() && m.Identity.MayReceive(topic) {
			return at
		}
	}
	return -1
}

// after is the index of the i-th candidate.
func (g *Group[C]) after(i int, by Strategy) int {
	if by == Sticky {
		return (max(g.turn, 0) + i) % len(g.members)
	}
	return (g.turn + 1 + i) % len(g.members)
}

// minShare is how much of a backlog a member may have in flight, however
// short the backlog is: enough to keep a member busy over a link of some
// milliseconds.
const minShare = 16

// share is how many messages a member may have before others of the group are
// asked: while a backlog is dealt out, each has its part of it.
func (g *Group[C]) share(from Origin) int32 {
	if from != FromQueue {
		return math.MaxInt32
	}
	n := max(len(g.members), 1)
	return int32(max(minShare, min((g.waiting+n-1)/n, math.MaxInt32)))
}

// Want asks the members that are connected to tell when they have room.
func (g *Group[C]) Want(by Sharing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	share := g.share(FromQueue)
	for i := range g.members {
		m := &g.members[i]
		if window := m.Consumer.window.Load(); window > 0 && m.QoS > 0 {
			m.Consumer.wanted.Store(min(window, by.Window, share)/2 + 1)
		}
	}
}

// Draining reports whether a member is connected that takes what is in the queue.
func (g *Group[C]) Draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining()
}

// Busy reports whether something waits in the queue, or the queue must go.
func (g *Group[C]) Busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting > 0 || g.ended
}

// Arrived counts a message that Pick chose the queue for as being there. It
// reports false if the group has ended.
func (g *Group[C]) Arrived() (ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.coming--
	return !g.ended
}

// Waiting makes known how many messages are in the queue.
func (g *Group[C]) Waiting(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = n
}

// Persists reports whether the group has a member whose messages are persisted.
func (g *Group[C]) Persists() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.persisted > 0
}

// Ended reports whether the group has no members any more.
func (g *Group[C]) Ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// TakesBack reports whether somebody can have what a member that is away has not
// begun to get: the queue, or a member that is connected.
func (g *Group[C]) TakesBack() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	return g.lasting > 0 || slices.ContainsFunc(g.members, func(m Member[C]) bool { return m.Online() })
}
