package broker

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
)

// writeSession writes the record of a stored session. left is when its
// connection ended, 0 if it is connected: then nobody knows after a crash what
// was sent.
func (s *shard) writeSession(cl *client, left time.Duration) {
	if !cl.stored() {
		return
	}
	r := store.Session{Number: cl.session.Number, ClientID: cl.id, Expiry: cl.expiry, Left: left}
	if left != 0 {
		r.Sent = cl.session.MaxSent() + 1
	}
	s.disk().PutSession(&r)
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

// Finish implements session.Journal.
func (s *shard) Finish(number uint64, m message.Stored) {
	s.count.gone(m)
	if m.Sole {
		s.disk().DropReceivers(store.Record{Key: m.Key, Sole: true, Apart: store.LiesApart(1, m.Size)})
		return
	}
	l, ok := s.books.left[m.Key]
	if !ok {
		s.log.Error("a message was finished more often than it was stored", "message", uint64(m.Key), "session", number)
		return
	}
	if l--; l&leftCount > 0 {
		s.books.left[m.Key] = l
		s.books.done[m.Key] = append(s.books.done[m.Key], number)
		return
	}
	delete(s.books.left, m.Key)
	delete(s.books.done, m.Key)
	s.disk().DropReceivers(store.Record{Key: m.Key, Apart: l&leftApart != 0, Lists: l&leftLists != 0})
}

// Begin implements session.Journal.
func (s *shard) Begin(number uint64, k message.Key, id packet.ID) (turn uint64) {
	s.disk().PutOutgoing(number, k, store.Outgoing{ID: id})
	s.books.began = true
	return s.turnNow()
}

// AwaitPubcomp implements session.Journal.
func (s *shard) AwaitPubcomp(number uint64, k message.Key, id packet.ID) {
	s.disk().PutOutgoing(number, k, store.Outgoing{ID: id, Released: true})
}

// End implements session.Journal.
func (s *shard) End(number uint64, k message.Key) { s.disk().DropOutgoing(number, k) }

// Forget implements session.Journal.
func (s *shard) Forget(number uint64, id packet.ID, over bool) {
	s.disk().DropIncoming(number, id, over)
}
