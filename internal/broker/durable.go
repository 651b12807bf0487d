package broker

import (
	"log/slog"
	"sync/atomic"

	"midge/internal/message"
	"midge/internal/store"
)

// durable is what a shard knows of the store: what this turn writes, and what waits
// until that is committed. With everything in memory it has no store, and nothing
// but failing and busy may be called.
type durable struct {
	store Store
	shard int
	count *Counters
	log   *slog.Logger

	filling   *store.Turn   // what this turn wants on disk, nil: nothing so far
	submitted uint64        // turns
	committed atomic.Uint64 // turns; the store's goroutine writes it
	promises  promises
	begun     bool // a QoS 2 exchange waits for its identifier to be committed

	receivers []byte                    // encoded, of the message that is written
	remaining map[message.Key]remaining // of messages that were written for several receivers
	done      map[message.Key][]uint64  // sessions that got one of them in this turn
	ended     []*client                 // sessions with messages to delete
}

// remaining is how many receivers of a message have not finished it, and how it was
// written.
type remaining uint32

const (
	writtenSeparately remaining = 1 << 31
	hasLists          remaining = 1 << 30
	remainingCount              = hasLists - 1
)

// init begins with an empty turn. st is nil if everything is in memory.
func (d *durable) init(st Store, shard int, count *Counters, log *slog.Logger) {
	d.store, d.shard, d.count, d.log = st, shard, count, log
	d.remaining, d.done = map[message.Key]remaining{}, map[message.Key][]uint64{}
	d.promises.init()
}

// turn is what is filled in this turn of the shard, and submitted at its end.
func (d *durable) turn() *store.Turn {
	if d.filling == nil {
		d.filling = d.store.Turn()
	}
	return d.filling
}

// lastTurn is the number of the turn that has all that was written so far.
func (d *durable) lastTurn() uint64 {
	if d.filling != nil {
		return d.submitted + 1
	}
	return d.submitted
}

// failing is why nothing can be promised now, nil if it can.
func (d *durable) failing() error {
	if d.store == nil {
		return nil
	}
	return d.store.Err()
}

// busy reports whether publishers of durable messages must wait. While nothing
// gets on disk at all they are refused instead.
func (d *durable) busy() bool {
	return d.store != nil && d.store.Busy() && d.store.Err() == nil
}

// promise has p kept once all that was written so far is committed. It reports
// whether that is so already: then the caller keeps it. Or else bytes are what the
// promises to the same connection take.
func (d *durable) promise(p promise) (now bool, bytes int) {
	p.turn = d.lastTurn()
	if d.filling != nil {
		d.filling.Urgent = true
	} else if p.turn <= d.committed.Load() && d.promises.empty() {
		return true, 0
	}
	return false, d.promises.add(p)
}

// submit hands what this turn wants on disk to the store. Batches for other
// shards that carry durable messages name the turn, so that it is complete only
// when they are on disk too. It comes before they are handed over.
func (d *durable) submit(outgoing []*batch) {
	if d.store == nil {
		return
	}
	for _, b := range outgoing {
		if b == nil {
			continue
		}
		for _, t := range b.turns { // of envelopes that were passed on
			d.turn().Passed = append(d.turn().Passed, t)
		}
		if b.durable {
			d.turn().Awaits++
			b.turns = append(b.turns, d.filling)
		}
	}
	for k, sessions := range d.done {
		d.turn().Done(k, d.store.NextSeq(), sessions)
		d.remaining[k] |= hasLists
		delete(d.done, k)
	}
	t := d.filling
	if t == nil || t.Empty() {
		return
	}
	d.filling = nil
	d.submitted = d.store.Submit(d.shard, t)
}

// putReceivers puts a message on disk for n receivers, whose encoded form is in
// d.receivers. It returns the key of the message, 0 if nobody stores it.
func (d *durable) putReceivers(n int, m *message.Message, key message.Key) message.Key {
	switch {
	case n == 0 && key == 0:
		return 0
	case n == 0:
		d.turn().Unshare(key)
		return 0
	case key == 0:
		key = message.NewKey(d.store.NextSeq(), store.PartOwn)
	}
	d.turn().PutReceivers(key, n, d.receivers, m)
	d.count.wrote(n, m.Size())
	if n > 1 {
		left := remaining(n)
		if store.IsSeparate(n, m.Size()) {
			left |= writtenSeparately
		}
		d.remaining[key] = left
	}
	return key
}

// lateKey is the key of a message of a group that nobody has on disk: when it was published, or
// by the member that had it, it went to a session in memory, and now to one that is stored.
// The turn that writes down the publisher's packet identifier of QoS 2 would not take it back
// under this key, so it must be complete before the key counts.
func (d *durable) lateKey(m *message.Message) message.Key {
	seq := d.store.NextSeq()
	if m.QoS == 2 {
		d.turn().Undecided(seq, true)
		d.turn().Behind = true
	}
	return message.NewKey(seq, store.PartOwn)
}

// maxDeleted is how many messages of ended sessions are deleted in a turn.
const maxDeleted = 2000

// deleteEnded deletes messages of sessions that have ended, and reports whether
// there are more.
func (d *durable) deleteEnded() (more bool) {
	if len(d.ended) == 0 {
		return false
	}
	if !d.ended[0].session.Delete(maxDeleted) {
		d.ended[0] = nil
		d.ended = d.ended[1:]
	}
	return len(d.ended) > 0
}

// drop deletes the record of a session that has ended and, some in each turn, its
// messages.
func (d *durable) drop(cl *client) {
	if cl.stored() {
		d.turn().DeleteSession(cl.session.Number)
		d.ended = append(d.ended, cl)
	}
}
