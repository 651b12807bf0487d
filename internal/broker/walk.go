package broker

import (
	"strings"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/session"
	"midge/internal/store"
	"midge/internal/topic"
)

// walker is a client that retained messages are due to: those of one filter after
// the other. It has a cursor and no list of messages, so that a client can ask
// for all of them with each of its subscriptions.
type walker struct {
	client *client
	due    map[string]uint32 // by the filter of a subscription: see retainedRequest.newest
	order  []string          // the filters
	first  [1]string         // memory of order, until there are more
	cursor topic.Cursor      // for the first of them,
	begun  bool              // if its walk has begun
}

// walks are those of a shard.
type walks struct {
	byClient map[*client]*walker
	order    []*walker          // in which they go on
	spare    *walker            // memory of one that has ended, and
	found    []*message.Message // of what a step has found
}

const (
	// atOnce is how many topics one client's walk looks at before others have
	// their turn: a tenth of a millisecond.
	atOnce = 256

	// peek of them are looked at right behind SUBACK. Most filters match fewer.
	peek = 32

	// walkWork is what all walks may do in a turn, about a millisecond: others wait
	// for them as long. The share of each is some packets of output.
	walkWork = turnWork / 8

	// maxWalkers go on in a turn, and walkAgain is when they try again if none
	// of them could. Output that drains makes a turn earlier.
	maxWalkers = 64
	walkAgain  = 50 * time.Millisecond
)

// retainedRequest asks for the retained messages of a subscription.
type retainedRequest struct {
	sub    *subscription
	newest uint32 // the stamp of the newest message that is due: later ones come live
}

// requestRetained begins to send the retained messages of a subscription. A
// request that is repeated takes the place of the one before. The client is not
// read before it has them all, so that it can't ask for more than it reads;
// its silence is not held against it, and TCP notices if it is gone.
func (s *shard) requestRetained(r retainedRequest) {
	cl, filter := r.sub.Client, r.sub.Filter
	if w := s.walks.byClient[cl]; w != nil {
		w.add(s, r)
		return
	}
	if !strings.ContainsAny(filter, "+#") && s.queueRoom(cl) > 0 && s.roomInOutput(cl) {
		if m := s.b.retained.Get(filter, r.newest, s.now); m != nil {
			s.deliverRetained(m, r.sub)
		}
		return
	}
	w := s.walks.spare
	if s.walks.spare = nil; w == nil {
		w = &walker{due: map[string]uint32{}}
	}
	w.client, w.first[0], w.due[filter] = cl, filter, r.newest
	w.order = w.first[:]
	spent, done := s.walk(w, peek)
	if s.work += spent; done {
		w.client, w.first[0] = nil, ""
		s.walks.spare = w
		return
	}
	s.walks.byClient[cl] = w
	s.walks.order = append(s.walks.order, w)
}

// add makes sure that a filter is among those of a walker.
func (w *walker) add(s *shard, r retainedRequest) {
	filter := r.sub.Filter
	if _, known := w.due[filter]; !known {
		if len(w.order) > 2*w.client.subs.Weight()+16 { // most of these subscriptions are gone
			w.compact(s)
		}
		w.order = append(w.order, filter)
	} else if w.order[0] == filter {
		w.begin(s) // again
	}
	w.due[filter] = r.newest
}

// compact drops the filters that are not subscribed to any more.
func (w *walker) compact(s *shard) {
	w.begin(s)
	order := w.order
	w.order = nil
	for _, filter := range order {
		if w.client.subs.Find(filter) == nil {
			delete(w.due, filter)
		} else {
			w.order = append(w.order, filter)
		}
	}
}

// begin makes the walk for the first filter begin anew.
func (w *walker) begin(s *shard) {
	if w.begun {
		s.b.retained.Leave(&w.cursor)
		w.begun = false
	}
}

// next ends the walk for the first filter.
func (w *walker) next() {
	delete(w.due, w.order[0])
	w.order, w.begun = w.order[1:], false
}

// walk sends a client more of the retained messages that are due to it, after a
// look at most topics or about that. It returns how much work that was, and
// whether it has all.
func (s *shard) walk(w *walker, limit int) (spent int, done bool) {
	cl := w.client
	for len(w.order) > 0 {
		filter := w.order[0]
		sub := cl.subs.Find(filter)
		if sub == nil {
			w.begin(s)
			w.next()
			continue
		}
		if s.queueRoom(cl) == 0 {
			s.resume(cl.conn, forWalk) // only its acknowledgements make room
			return spent, false
		}
		if spent >= limit || !s.roomInOutput(cl) {
			s.pause(cl.conn, forWalk)
			return spent, false
		}
		if !w.begun {
			w.cursor.Reset(filter)
			w.begun = true
		}
		var looked int
		var more bool
		s.walks.found, looked, more = s.b.retained.Step(s.walks.found[:0], &w.cursor, min(limit-spent, s.queueRoom(cl)), w.due[filter], s.now)
		spent += looked + len(s.walks.found)
		for _, m := range s.walks.found {
			s.deliverRetained(m, sub)
		}
		clear(s.walks.found)
		if !more {
			w.next()
		}
	}
	s.resume(cl.conn, forWalk)
	return spent, true
}

// resumeWalks lets clients go on that retained messages are due to, one after the other
// and again, and returns when it wants to be called again.
func (s *shard) resumeWalks() (next time.Duration) {
	if len(s.walks.order) == 0 {
		return forever
	}
	sum, n := 0, 0
	for n < min(len(s.walks.order), maxWalkers) && (n == 0 || s.work < turnWork && sum < walkWork) {
		w := s.walks.order[n]
		n++
		if s.walks.byClient[w.client] != w {
			continue // it has left
		}
		spent, done := s.walk(w, atOnce)
		sum += spent
		s.work += spent
		if done {
			delete(s.walks.byClient, w.client)
		} else {
			s.walks.order = append(s.walks.order, w)
		}
	}
	clear(s.walks.order[:n])
	if s.walks.order = s.walks.order[n:]; len(s.walks.order) == 0 {
		s.walks.order = nil
		return forever
	}
	if sum > 0 {
		return s.now
	}
	return s.now + walkAgain
}

// stopWalking forgets what was due to a client that has left.
func (s *shard) stopWalking(cl *client) {
	if w := s.walks.byClient[cl]; w != nil {
		w.begin(s)
		delete(s.walks.byClient, cl)
	}
}

// queueRoom is how many more retained messages a client's queue takes now, the
// other half being for others.
func (s *shard) queueRoom(cl *client) int {
	return max(s.session.MaxQueued(cl.stored())/2+1-cl.session.Queued(), 0)
}

// roomInOutput reports whether a client's connection takes more of them now.
func (s *shard) roomInOutput(cl *client) bool {
	return cl.conn.net.Pending() < s.budget.pending/2
}

// deliverRetained gives a retained message to the client of a subscription, with
// RETAIN, unless it is one of its own and the subscription has No Local
// (MQTT-3.8.3-3).
func (s *shard) deliverRetained(m *message.Message, sub *subscription) {
	if sub.NoLocal && m.Publisher == sub.Client.id && m.Publisher != "" {
		return // MQTT-3.8.3-3
	}
	if mount := sub.Client.Mount(); mount > 0 && !topic.SeenBelow(mount, sub.Filter, m.Topic) {
		return
	}
	if !sub.Client.Identity().MayReceive(m.Topic) {
		return
	}
	var ids []uint32
	if sub.ID != 0 {
		ids = []uint32{sub.ID}
	}
	s.beginDelivery(m)
	s.fanout.cloner = *session.Cloned(m) // it has memory of its own, which nobody changes
	qos := min(m.QoS, sub.QoS)
	if qos > 0 || ids != nil {
		key := s.writeRetained(m, sub, qos, ids)
		s.enqueue(sub.Client, session.Delivery{QoS: qos, Retain: true, SubscriptionIDs: ids, Key: key, Sole: true})
		return
	}
	s.deliverDirect(sub.Client, m, true)
}

// writeRetained puts a retained message on disk for one stored session.
func (s *shard) writeRetained(m *message.Message, sub *subscription, qos packet.QoS, ids []uint32) message.Key {
	if qos == 0 || !sub.Client.stored() {
		return 0
	}
	s.disk.receivers = store.AppendReceiver(s.disk.receivers[:0], &store.Receiver{
		Session: sub.Client.session.Number, QoS: qos, Retain: true, IDs: ids,
	})
	return s.disk.putReceivers(1, m, 0)
}
