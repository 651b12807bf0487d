package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
)

// Load brings back what the store has: call it after New and before Start. now
// is the time of the engine that is going to run. It returns what could not be
// read.
func (b *Broker) Load(now time.Duration) ([]store.Damaged, error) {
	if b.cfg.Store == nil {
		return nil, nil
	}
	for _, s := range b.shards {
		s.now = now
	}
	l := loader{b: b, sessions: map[uint64]loaded{}}
	damaged, err := b.cfg.Store.Load(&l)
	if err != nil {
		return damaged, fmt.Errorf("broker: %w", err)
	}
	l.finish()
	b.damaged = uint64(len(damaged))
	return damaged, nil
}

// loader implements store.Loader. Nothing runs yet, so it writes to all shards.
type loader struct {
	b        *Broker
	sessions map[uint64]loaded // by number
	queues   []loaded          // those of them that are queues of groups
	wills    []store.Will
}

// loaded is a session that has been loaded.
type loaded struct {
	cl   *client
	s    *shard
	left time.Duration // when its connection ended, 0 if the broker ended first
	sent uint64        // as in store.Session
}

// Session implements store.Loader. Of two with the same client id the later is
// in force; the other had ended, and is there because others get its messages.
func (l *loader) Session(r store.Session) {
	s := l.b.shards[shardOf([]byte(r.ClientID), len(l.b.shards))]
	cl := &client{id: r.ClientID, expiry: r.Expiry, session: session.New(&s.session, r.Number), persisted: true}
	if _, queue := store.QueueOf(r.ClientID); queue {
		at := loaded{cl: cl, s: s}
		l.sessions[r.Number] = at
		l.queues = append(l.queues, at)
		return
	}
	cl.mount = mountOf(cl.id)
	left := r.Left
	if left == 0 {
		left = s.now
	}
	l.sessions[r.Number] = loaded{cl, s, r.Left, r.Sent}
	s.leave(cl, left)
	s.count.Disconnected++
	if old := s.clients.Get(cl.id); old != nil {
		if old.session.Number > cl.session.Number {
			old, cl = cl, old
		}
		old.away.ends = s.now
	}
	s.clients.Put(cl)
}

// Will implements store.Loader.
func (l *loader) Will(w store.Will) { l.wills = append(l.wills, w) }

// Subscription implements store.Loader.
func (l *loader) Subscription(number uint64, r store.Subscription) {
	at := l.sessions[number]
	sub := &subscription{
		Filter: r.Filter, Client: at.cl, ID: r.ID, QoS: r.QoS, NoLocal: r.NoLocal, RetainAsPublished: r.RetainAsPublished,
		Persistent: at.cl.stored(),
	}
	name, shared, err := routing.ParseFilter(r.Filter)
	if err == nil && (!strings.HasPrefix(name.Filter, at.cl.mountPoint()) || len(name.Filter) == at.cl.Mount() || shared && name.Mount != at.cl.Mount()) {
		err = errors.New("it is not below the mount point of its client")
	}
	if err != nil {
		at.s.log.Error("a stored subscription is not valid and is left out", "client", at.cl.id, "filter", r.Filter, "error", err)
		return
	}
	at.cl.subs.Add(sub)
	if shared {
		at.s.share(sub, name, false)
	} else {
		at.s.enter(sub)
	}
}

// Retained implements store.Loader.
func (l *loader) Retained(m *message.Message) { l.b.retained.Load(m) }

// Incoming implements store.Loader.
func (l *loader) Incoming(number uint64, id packet.ID) {
	l.sessions[number].cl.session.RestoreReceived(id)
}

// AwaitPubcomp implements store.Loader.
func (l *loader) AwaitPubcomp(number uint64, k message.Key, id packet.ID) {
	l.sessions[number].cl.session.Restore(session.Restored{Stored: message.Stored{Key: k}, QoS: 2, ID: id, AwaitsPubcomp: true})
}

// Shard implements store.Loader.
func (l *loader) Shard(number uint64) int {
	if at, ok := l.sessions[number]; ok {
		return at.s.index
	}
	return -1
}

// Waiting implements store.Loader.
func (l *loader) Waiting(w store.Waiting) {
	sole := w.Written == 1
	if !sole {
		n := remaining(len(w.All))
		if w.Separate {
			n |= writtenSeparately
		}
		if w.Lists {
			n |= hasLists
		}
		l.sessions[w.All[0].Session].s.disk.remaining[w.Key] = n
	}
	for i := range w.All {
		rc := &w.All[i]
		at := l.sessions[rc.Session]
		at.s.count.wrote(1, w.Size)
		r := session.Restored{
			Stored: message.Stored{Key: w.Key, Size: w.Size, Sole: sole}, Expires: w.Expires,
			QoS: rc.QoS, Retain: rc.Retain, SubscriptionIDs: rc.IDs,
			Sent: at.sent == 0 || w.Key.Seq() < at.sent,
		}
		if g := l.group(rc.Share); g != nil && at.cl.away != nil { // not the queue of a group
			r.Group = g
		}
		r.ID, r.AwaitsPubcomp = rc.Begun.ID, rc.Begun.AwaitsPubcomp
		at.cl.session.Restore(r)
	}
}

// group is the shared subscription that a filter names, nil if it has no members.
func (l *loader) group(share string) *group {
	if share == "" {
		return nil
	}
	name, _, err := routing.ParseFilter(share)
	if err != nil {
		return nil
	}
	return l.b.interest.Group(name)
}

// finish brings back wills, and lets time run.
func (l *loader) finish() {
	for _, w := range l.wills {
		l.will(&w)
	}
	for _, at := range l.sessions {
		if at.cl.away == nil {
			continue // the queue of a group
		}
		if at.left == 0 || at.sent == 0 {
			// Its time runs from now, also after another crash, and what comes
			// from now on has not been sent.
			at.s.writeSession(at.cl, cmp.Or(at.left, at.s.now))
		}
		at.s.arm(at.cl.away)
	}
	for _, at := range slices.Backward(l.queues) { // the newest first
		l.queue(at)
	}
	for _, s := range l.b.shards {
		s.published.store(&s.count)
	}
}

// will gives a will back to the session that it belongs to. A client without
// one has gone with the broker, and its will is published.
func (l *loader) will(r *store.Will) {
	w := &will{message: r.Message.Clone(), delay: r.Delay, expiry: r.Expiry, number: r.Number}
	s := l.b.shards[shardOf([]byte(r.ClientID), len(l.b.shards))]
	cl := s.clients.Get(r.ClientID)
	if cl == nil || cl.will() != nil || cl.expiry == 0 {
		gone := &client{id: r.ClientID, session: session.New(&s.session, 0)}
		gone.need().will = w
		s.leave(gone, s.now)
		gone.away.ends = s.now
		s.arm(gone.away)
		s.count.Disconnected++
		return
	}
	cl.need().will = w
	w.due = cmp.Or(l.sessions[cl.session.Number].left, s.now) + w.delay
}

// queue gives a queue back to its group. One whose group has ended is left from
// a crash in between, also if another group has begun under the name.
func (l *loader) queue(at loaded) {
	share, _ := store.QueueOf(at.cl.id)
	if g := l.group(share); g != nil && at.s.queues.byGroup[g] == nil {
		q := &queue{client: at.cl, group: g}
		at.s.queues.byGroup[g] = q
		q.note()
		return
	}
	at.s.count.DroppedGroup += uint64(at.cl.session.Queued())
	at.s.disk.drop(at.cl)
}
