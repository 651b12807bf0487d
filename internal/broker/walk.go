package broker

import (
	"strings"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/topic"
)

// walker is a client that is owed retained messages: those of one filter after
// the other. It has a cursor and no list of messages, so that a client can ask
// for all of them with each of its subscriptions.
type walker struct {
	client *client
	owed   map[string]uint32 // by the filter of a subscription: see retainedRequest.newest
	order  []string          // the filters
	first  [1]string         // memory of order, until there are more
	cursor topic.Cursor      // for the first of them,
	begun  bool              // if its walk has begun
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

	// mostWalkers go on in a turn, and walkAgain is when they try again if none
	// of them could. Output that drains makes a turn earlier.
	mostWalkers = 64
	walkAgain   = 50 * time.Millisecond
)

// retainedRequest asks for the retained messages of a subscription.
type retainedRequest struct {
	sub    *subscription
	newest uint32 // the stamp of the newest message that is owed: later ones come live
}

// requestRetained begins to send the retained messages of a subscription. A
// request that is repeated takes the place of the one before. The client is not
// read before it has them all, so that it can't ask for more than it reads;
// its silence is not held against it, and TCP notices if it is gone.
func (s *shard) requestRetained(r retainedRequest) {
	cl, filter := r.sub.Client, r.sub.Filter
	if w := s.walkers[cl]; w != nil {
		w.add(s, r)
		return
	}
	if !strings.ContainsAny(filter, "+#") && s.queueRoom(cl) > 0 && s.roomInOutput(cl) {
		if m := s.b.retained.Get(filter, r.newest, s.now); m != nil {
			s.deliverRetained(m, r.sub)
		}
		return
	}
	w := s.walker
	if s.walker = nil; w == nil {
		w = &walker{owed: map[string]uint32{}}
	}
	w.client, w.first[0], w.owed[filter] = cl, filter, r.newest
	w.order = w.first[:]
	spent, done := s.walk(w, peek)
	if s.work += spent; done {
		w.client, w.first[0] = nil, ""
		s.walker = w
		return
	}
	s.walkers[cl] = w
	s.walking = append(s.walking, w)
}

// add makes sure that a filter is among those of a walker.
func (w *walker) add(s *shard, r retainedRequest) {
	filter := r.sub.Filter
	if _, known := w.owed[filter]; !known {
		if len(w.order) > 2*w.client.subs.Weight()+16 { // most of these subscriptions are gone
			w.compact(s)
		}
		w.order = append(w.order, filter)
	} else if w.order[0] == filter {
		w.begin(s) // again
	}
	w.owed[filter] = r.newest
}

// compact drops the filters that are not subscribed to any more.
func (w *walker) compact(s *shard) {
	w.begin(s)
	order := w.order
	w.order = nil
	for _, filter := range order {
		if w.client.subs.Find(filter) == nil {
			delete(w.owed, filter)
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
	delete(w.owed, w.order[0])
	w.order, w.begun = w.order[1:], false
}

// walk sends a client more of the retained messages that it is owed, after a
// look at most topics or about that. It returns how much work that was, and
// whether it has all.
func (s *shard) walk(w *walker, most int) (spent int, done bool) {
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
		if spent >= most || !s.roomInOutput(cl) {
			s.pause(cl.conn, forWalk)
			return spent, false
		}
		if !w.begun {
			w.cursor.Reset(filter)
			w.begun = true
		}
		var looked int
		var more bool
		s.found, looked, more = s.b.retained.Step(s.found[:0], &w.cursor, min(most-spent, s.queueRoom(cl)), w.owed[filter], s.now)
		spent += looked + len(s.found)
		for _, m := range s.found {
			s.deliverRetained(m, sub)
		}
		clear(s.found)
		if !more {
			w.next()
		}
	}
	s.resume(cl.conn, forWalk)
	return spent, true
}

// goOnWalking lets clients go on that are owed retained messages, one after the other
// and again, and returns when it wants to be called again.
func (s *shard) goOnWalking() (next time.Duration) {
	if len(s.walking) == 0 {
		return forever
	}
	sum, n := 0, 0
	for n < min(len(s.walking), mostWalkers) && (n == 0 || s.work < turnWork && sum < walkWork) {
		w := s.walking[n]
		n++
		if s.walkers[w.client] != w {
			continue // it has left
		}
		spent, done := s.walk(w, atOnce)
		sum += spent
		s.work += spent
		if done {
			delete(s.walkers, w.client)
		} else {
			s.walking = append(s.walking, w)
		}
	}
	clear(s.walking[:n])
	if s.walking = s.walking[n:]; len(s.walking) == 0 {
		s.walking = nil
		return forever
	}
	if sum > 0 {
		return s.now
	}
	return s.now + walkAgain
}

// stopWalking forgets what a client is owed that has left.
func (s *shard) stopWalking(cl *client) {
	if w := s.walkers[cl]; w != nil {
		w.begin(s)
		delete(s.walkers, cl)
	}
}

// queueRoom is how many more retained messages a client's queue takes now, the
// other half being for others.
func (s *shard) queueRoom(cl *client) int {
	return max(s.session.MaxQueued(cl.stored())/2+1-cl.session.Queued(), 0)
}

// roomInOutput reports whether a client's connection takes more of them now.
func (s *shard) roomInOutput(cl *client) bool {
	return cl.conn.net.Pending() < s.pending/2
}

func (s *shard) deliverRetained(m *message.Message, sub *subscription) {
	if sub.NoLocal && m.Publisher == sub.Client.id && m.Publisher != "" {
		return // MQTT-3.8.3-3
	}
	if !sub.Client.Identity().MayReceive(m.Topic) {
		return
	}
	var ids []uint32
	if sub.ID != 0 {
		ids = []uint32{sub.ID}
	}
	s.lend(m)
	qos := min(m.QoS, sub.QoS)
	if qos > 0 || ids != nil {
		key := s.writeRetained(m, sub, qos, ids)
		s.enqueue(sub.Client, m, qos, true, ids, nil, key, true)
		return
	}
	s.deliverDirect(sub.Client, m, true)
}

// writeRetained puts a retained message on disk for one stored session.
func (s *shard) writeRetained(m *message.Message, sub *subscription, qos packet.QoS, ids []uint32) message.Key {
	if qos == 0 || !sub.Client.stored() {
		return 0
	}
	s.books.receivers = store.AppendReceiver(s.books.receivers[:0], &store.Receiver{
		Session: sub.Client.session.Number, QoS: qos, Retain: true, IDs: ids,
	})
	return s.writeReceivers(1, m, 0)
}
