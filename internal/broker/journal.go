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
	s.disk.turn().PutSession(&r)
}

// Finish implements session.Journal: a session has no more use for a message.
func (d *durable) Finish(number uint64, m message.Stored) {
	d.count.gone(m)
	if m.Sole {
		d.turn().DeleteReceivers(store.Record{Key: m.Key, Sole: true, Separate: store.IsSeparate(1, m.Size)})
		return
	}
	left, ok := d.remaining[m.Key]
	if !ok {
		d.log.Error("a message was finished more often than it was stored", "message", uint64(m.Key), "session", number)
		return
	}
	if left--; left&remainingCount > 0 {
		d.remaining[m.Key] = left
		d.done[m.Key] = append(d.done[m.Key], number)
		return
	}
	delete(d.remaining, m.Key)
	delete(d.done, m.Key)
	d.turn().DeleteReceivers(store.Record{Key: m.Key, Separate: left&writtenSeparately != 0, Lists: left&hasLists != 0})
}

// Begin implements session.Journal.
func (d *durable) Begin(number uint64, k message.Key, id packet.ID) (turn uint64) {
	d.turn().PutOutgoing(number, k, store.Outgoing{ID: id})
	d.begun = true
	return d.lastTurn()
}

// AwaitPubcomp implements session.Journal.
func (d *durable) AwaitPubcomp(number uint64, k message.Key, id packet.ID) {
	d.turn().PutOutgoing(number, k, store.Outgoing{ID: id, AwaitsPubcomp: true})
}

// End implements session.Journal.
func (d *durable) End(number uint64, k message.Key) { d.turn().DeleteOutgoing(number, k) }

// Forget implements session.Journal.
func (d *durable) Forget(number uint64, id packet.ID, over bool) {
	d.turn().DeleteIncoming(number, id, over)
}
