package broker

import (
	"slices"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
)

// route is what a shard knows about a topic name: who gets its messages. A
// change of subscriptions makes it stale, and the next message renews it.
type route struct {
	name      string
	local     uint64        // shard.changes.epoch when receivers were found
	global    uint64        // interest.epoch when shards and groups were found
	receivers []receiver    // of this shard; they don't change
	list      *receiverList // where they lie if the route is cached; nil: nobody
	shards    uint64        // other shards with subscribers
	stored    uint64        // shards, this one too, with receivers that are on disk
	groups    []*group
	permits   *permits // nil: nobody was asked; only of one that is cached
	gone      bool     // it is not in the cache any more, and must not be used again
}

// receiver is a session that gets one copy of each message (MQTT 5.0 section
// 3.3.4): at the highest QoS of all its matching subscriptions and with all
// their identifiers.
type receiver struct {
	client *client
	grant
	mixed bool   // has subscriptions with No Local
	own   *grant // what counts for messages of its own if mixed; nil: none
}

// grant is what subscriptions add up to.
type grant struct {
	qos packet.QoS
	rap bool     // Retain As Published
	ids []uint32 // subscription identifiers
}

func (g *grant) merge(sub *subscription) {
	g.qos = max(g.qos, sub.qos)
	g.rap = g.rap || sub.rap
	if sub.id != 0 && !slices.Contains(g.ids, sub.id) {
		g.ids = append(g.ids, sub.id)
	}
}

// routeOf finds the route of a topic name, from the cache if it is there and
// still right. A name that was not seen lately gets a route for this one
// message, which lasts until the next call: fleets publish to topics by the
// million, once each. cached tells that the route stays.
func (s *shard) routeOf(name []byte) (r *route, cached bool) {
	if r, cached = s.remembered(name); cached {
		s.renew(r)
	} else {
		s.fill(r, name)
	}
	return r, cached
}

// arrived finds the receivers on this shard of a topic name that another shard
// has routed here already.
func (s *shard) arrived(name []byte) []receiver {
	r, cached := s.remembered(name)
	if cached {
		s.renew(r)
	} else {
		s.findReceivers(r, name)
	}
	return r.receivers
}

// fill finds out everything about a topic name. The shard has receivers only
// if it is among the interested ones.
func (s *shard) fill(r *route, name []byte) {
	clear(r.groups)
	before := cap(r.groups)
	r.shards, r.stored, r.groups, r.global = s.b.interest.lookup(name, r.groups[:0])
	if r.name != "" {
		s.routes.bytes += 8 * (cap(r.groups) - before)
	}
	if mine := uint64(1) << s.index; r.shards&mine != 0 {
		r.shards &^= mine
		s.findReceivers(r, name)
		return
	}
	s.routes.set(r, nil)
	r.local = s.changes.epoch
}

// renew makes r right again if subscriptions have changed.
func (s *shard) renew(r *route) {
	epoch, ok := s.b.interest.unchangedSince(r.global, r.name)
	if !ok {
		s.fill(r, []byte(r.name))
		return
	}
	r.global = epoch
	if r.local == s.changes.epoch {
		return
	}
	if s.changes.unchangedSince(r.local, r.name) {
		r.local = s.changes.epoch
	} else {
		s.findReceivers(r, []byte(r.name))
	}
}

// findReceivers fills in the receivers of this shard.
func (s *shard) findReceivers(r *route, name []byte) {
	clear(s.routes.found)
	all := s.routes.found[:0]
	s.subscriptions.Match(name, func(sub *subscription) {
		at := s.place(all, sub.client)
		if at < 0 {
			at = len(all)
			all = append(all, receiver{client: sub.client})
		}
		rc := &all[at]
		rc.merge(sub)
		rc.mixed = rc.mixed || sub.noLocal
	})
	if len(s.places) > 0 {
		s.places = map[*client]int{}
	}
	if s.b.cfg.Authenticator != nil {
		all = slices.DeleteFunc(all, func(rc receiver) bool { return !rc.client.identity().mayReceive(name) })
	}
	for i := range all {
		if all[i].mixed {
			all[i].own = s.ownGrant(all[i].client, name)
		}
	}
	s.routes.found = all
	s.routes.set(r, all)
	r.local = s.changes.epoch
}

// fewReceivers are searched one by one; beyond, an index helps.
const fewReceivers = 16

// place finds a client among the receivers, -1 if it is not there.
func (s *shard) place(all []receiver, c *client) int {
	if len(all) <= fewReceivers {
		return slices.IndexFunc(all, func(r receiver) bool { return r.client == c })
	}
	if len(s.places) == 0 {
		for i := range all {
			s.places[all[i].client] = i
		}
	}
	if at, ok := s.places[c]; ok {
		return at
	}
	s.places[c] = len(all) // where the caller puts it
	return -1
}

// ownGrant is what a client's subscriptions without No Local add up to.
func (s *shard) ownGrant(c *client, name []byte) (own *grant) {
	s.subscriptions.Match(name, func(sub *subscription) {
		if sub.client != c || sub.noLocal {
			return
		}
		if own == nil {
			own = &grant{}
		}
		own.merge(sub)
	})
	return own
}

// empty tells that nobody gets the messages of r.
func (r *route) empty() bool { return len(r.receivers) == 0 && r.shards == 0 && len(r.groups) == 0 }

// grantFrom is what counts for messages of a client, nil if the receiver does
// not get them.
func (rc *receiver) grantFrom(from *client) *grant {
	if rc.mixed && rc.client == from {
		return rc.own
	}
	return &rc.grant
}

// write puts a message on disk for those of its receivers that are stored, and
// returns its key, 0 if there are none. sole tells that there is one.
func (s *shard) write(receivers []receiver, m *message.Message, from *client, key message.Key) (_ message.Key, sole bool) {
	n := 0
	s.books.receivers = s.books.receivers[:0]
	for i := range receivers {
		rc := &receivers[i]
		if !rc.client.stored() {
			continue
		}
		g := rc.grantFrom(from)
		if g == nil || g.qos == 0 {
			continue
		}
		n++
		s.books.receivers = store.AppendReceiver(s.books.receivers, &store.Receiver{
			Session: rc.client.session.Number, QoS: min(m.QoS, g.qos), Retain: m.Retain && g.rap, IDs: g.ids,
		})
	}
	return s.writeReceivers(n, m, key), n == 1
}

// writeReceivers puts a message on disk for n receivers, whose encoded form is in
// s.books.receivers.
func (s *shard) writeReceivers(n int, m *message.Message, key message.Key) message.Key {
	switch {
	case n == 0 && key == 0:
		return 0
	case n == 0:
		s.disk().Unshare(key)
		return 0
	case key == 0:
		key = message.NewKey(s.b.cfg.Store.NextSeq(), store.PartOwn)
	}
	s.disk().PutReceivers(key, n, s.books.receivers, m)
	s.count.wrote(n, m.Size())
	if n > 1 {
		l := left(n)
		if store.LiesApart(n, m.Size()) {
			l |= leftApart
		}
		s.books.left[key] = l
	}
	return key
}

// deliverLocal gives a message to its receivers on this shard. from is the
// client that published it if it is one of this shard; key is for receivers
// that are on disk.
func (s *shard) deliverLocal(receivers []receiver, m *message.Message, from *client, key message.Key) {
	s.work += len(receivers) * (1 + len(m.Payload)>>12)
	s.lend(m)
	var sole bool
	if key != 0 {
		key, sole = s.write(receivers, m, from, key)
	}
	for i := range receivers {
		rc := &receivers[i]
		g := rc.grantFrom(from)
		if g == nil {
			continue
		}
		retain := m.Retain && g.rap
		qos := min(m.QoS, g.qos)
		if qos > 0 && key == 0 && rc.client.stored() {
			// Above QoS 0 nobody has stored the message: when it was routed, the
			// client had no subscription above QoS 0. So it gets what that one
			// granted; MQTT-3.8.4-4 wants nothing lost when it is replaced.
			qos = 0
		}
		if qos > 0 || len(g.ids) > 0 {
			s.enqueue(rc.client, m, qos, retain, g.ids, nil, key, sole)
		} else {
			s.deliverDirect(rc.client, m, retain)
		}
	}
}

// frames are the encoded forms of a QoS 0 message without its payload, built
// once for all receivers.
type frames struct {
	heads [4][]byte // by 5.0 or not, and retained or not
	built [4]bool   // heads that are of this message
	large bool      // one of them is over keptFrame
}

func (f *frames) reset() {
	f.built = [4]bool{}
	if !f.large {
		return
	}
	for i := range f.heads {
		if cap(f.heads[i]) > keptFrame {
			f.heads[i] = nil
		}
	}
	f.large = false
}

// keptFrame is the size in bytes of an encoded form whose memory is used again. Heads
// are topic and properties; some are as large as a packet can be.
const keptFrame = 4 << 10

func (s *shard) frame(m *message.Message, v packet.Version, retain bool) []byte {
	i := 0
	if v == packet.V5 {
		i = 2
	}
	if retain {
		i++
	}
	head := &s.frames.heads[i]
	if !s.frames.built[i] {
		p := &s.frame0
		*p = packet.Publish{Topic: m.Topic, Payload: m.Payload, Retain: retain}
		p.Properties.Forward = m.Properties
		p.Properties.MessageExpiry, p.Properties.HasExpiry = m.Remaining(s.now)
		*head, _ = p.AppendHead((*head)[:0], v)
		s.frames.built[i] = true
		s.frames.large = s.frames.large || cap(*head) > keptFrame
	}
	return *head
}

// deliverDirect sends a QoS 0 message that needs nothing of the session.
func (s *shard) deliverDirect(c *client, m *message.Message, retain bool) {
	to := c.online()
	if to == nil {
		s.count.DroppedAway++
		return
	}
	if m.Expired(s.now) {
		s.count.DroppedExpired++
		return
	}
	if to.apart {
		s.enqueue(c, m, 0, retain, nil, nil, 0, false)
		return
	}
	if n := to.net.Pending(); n > s.pending && !passes(n, m) {
		s.dropPending(n)
		return
	}
	head := s.frame(m, to.version, retain)
	size := len(head) + len(m.Payload)
	to.net.Send(head, m.Payload)
	s.charge(size)
	s.count.PacketsSent++
	s.count.PublishSent++
	s.count.BytesSent += uint64(size)
	s.count.PublishBytesSent += uint64(len(m.Payload))
}
