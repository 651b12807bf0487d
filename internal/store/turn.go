package store

import (
	"encoding/binary"

	"midge/internal/message"
	"midge/internal/packet"
)

// Turn is what one turn of a shard wants on disk. The shard fills it, submits
// it, and does not touch it again.
//
// The changes of a turn are applied together. A turn that posted messages to
// other shards is complete when their turns are on disk as well (Awaits, After);
// until then its last changes (Finally) wait.
type Turn struct {
	// Urgent says that somebody waits for the turn: it is committed only when it
	// is on disk, with all that it awaits. Others count as committed as soon as
	// they are applied, and a crash may undo them.
	Urgent bool

	// Awaits is how many turns of other shards will name this one in After.
	Awaits int

	// After are turns of other shards whose messages this one has handled.
	After []*Turn

	// Passed are those among After whose messages this turn has posted to yet
	// another shard, once for each: they await one turn more.
	Passed []*Turn

	// Behind says that the turn is complete only after all that were submitted
	// before it, of any shard: it gives another key to a message that one of
	// them may still take back.
	Behind bool

	*buffers
	times timeline

	// Of the committer:
	shard             int
	number            uint64 // in the order of Submit
	applied, complete bool
}

// share is a separate message that has receivers on n shards.
type share struct {
	seq uint64
	n   int
}

// Empty reports whether there is nothing to submit, and nobody waits for it.
func (t *Turn) Empty() bool {
	return !t.Urgent && t.changes.n == 0 && t.finally.n == 0 && t.Awaits == 0 && len(t.After) == 0 && len(t.unshared) == 0
}

// size is the memory that the turn takes, about, in bytes.
func (t *Turn) size() int64 {
	return int64(t.changes.Size() + t.finally.Size() + 16*len(t.sharing) + 8*len(t.unshared) + 64)
}

// buffers is the memory of a turn, which is used again for others.
type buffers struct {
	changes  Changes
	finally  Changes
	sharing  []share
	unshared []uint64
	key, val []byte
}

// release takes the memory of a turn away, to be used again.
func (t *Turn) release() *buffers {
	b := t.buffers
	t.buffers, t.After, t.Passed = nil, nil, nil
	b.changes.Reset()
	b.finally.Reset()
	b.sharing, b.unshared = b.sharing[:0], b.unshared[:0]
	return b
}

// PutSession writes a session.
func (t *Turn) PutSession(s *Session) {
	t.key, t.val = sessionKey(t.key[:0], s.Number), s.append(t.val[:0], t.times)
	t.changes.Set(t.key, t.val)
}

// DeleteSession deletes a session. Its subscriptions and exchanges have records
// of their own.
func (t *Turn) DeleteSession(number uint64) {
	t.key = sessionKey(t.key[:0], number)
	t.changes.Delete(t.key)
}

// FinallyDeleteSession deletes a session when the turn is complete: its messages
// are with other sessions then.
func (t *Turn) FinallyDeleteSession(number uint64) {
	t.key = sessionKey(t.key[:0], number)
	t.finally.Delete(t.key)
}

// PutSubscription writes a subscription of a session.
func (t *Turn) PutSubscription(number uint64, s *Subscription) {
	t.key, t.val = subscriptionKey(t.key[:0], number, s.Filter), s.append(t.val[:0])
	t.changes.Set(t.key, t.val)
}

// DeleteSubscription deletes a subscription.
func (t *Turn) DeleteSubscription(number uint64, filter string) {
	t.key = subscriptionKey(t.key[:0], number, filter)
	t.changes.Delete(t.key)
}

// FinallyDeleteSubscription deletes one when the turn is complete, as
// FinallyDeleteSession.
func (t *Turn) FinallyDeleteSubscription(number uint64, filter string) {
	t.key = subscriptionKey(t.key[:0], number, filter)
	t.finally.Delete(t.key)
}

// PutWill writes the will of a client.
func (t *Turn) PutWill(w *Will) {
	t.key, t.val = willKey(t.key[:0], w.Number), w.append(t.val[:0], t.times)
	t.changes.Set(t.key, t.val)
}

// DeleteWill deletes a will.
func (t *Turn) DeleteWill(number uint64) {
	t.key = willKey(t.key[:0], number)
	t.changes.Delete(t.key)
}

// FinallyDeleteWill deletes a will when the turn is complete: it has been
// published.
func (t *Turn) FinallyDeleteWill(number uint64) {
	t.key = willKey(t.key[:0], number)
	t.finally.Delete(t.key)
}

// PutIncoming writes that a QoS 2 message of a client was received and PUBREL
// has not come: with the changes of this turn, or when it is complete.
func (t *Turn) PutIncoming(number uint64, id packet.ID, finally bool) {
	t.key = incomingKey(t.key[:0], number, id)
	if finally {
		t.finally.Set(t.key, nil)
	} else {
		t.changes.Set(t.key, nil)
	}
}

// DeleteIncoming deletes that record: with the changes of this turn, or when it is
// complete, and then behind what PutIncoming has still to write.
func (t *Turn) DeleteIncoming(number uint64, id packet.ID, finally bool) {
	t.key = incomingKey(t.key[:0], number, id)
	if finally {
		t.finally.Delete(t.key)
	} else {
		t.changes.Delete(t.key)
	}
}

// PutOutgoing writes the state of a QoS 2 exchange towards a client.
func (t *Turn) PutOutgoing(number uint64, k message.Key, o Outgoing) {
	t.key, t.val = outgoingKey(t.key[:0], number, k), o.append(t.val[:0])
	t.changes.Set(t.key, t.val)
}

// DeleteOutgoing deletes that state.
func (t *Turn) DeleteOutgoing(number uint64, k message.Key) {
	t.key = outgoingKey(t.key[:0], number, k)
	t.changes.Delete(t.key)
}

// Undecided begins a message that is not with all its shards before the turn is
// complete. If it never is, a start takes the message back from those that have
// it (takeBack: nobody was promised anything), or only sees to it that a shared
// message which nobody needs does not stay.
func (t *Turn) Undecided(seq uint64, takeBack bool) {
	t.key, t.val = undecidedKey(t.key[:0], seq), append(t.val[:0], 0)
	if takeBack {
		t.val[0] = 1
	}
	t.changes.Set(t.key, t.val)
	t.finally.Delete(t.key)
}

// Share writes a message that receivers on n shards share: their turns put
// their receivers, or Unshare it. Undecided goes with it.
func (t *Turn) Share(seq uint64, n int, m *message.Message) {
	t.key = sharedMessageKey(t.key[:0], seq)
	t.val = appendMessage(t.val[:0], m, t.times)
	t.changes.Set(t.key, t.val)
	t.sharing = append(t.sharing, share{seq, n})
}

// Unshare notes that a shard does not need a shared message: it has no
// receivers for it after all. DeleteReceivers says so by itself.
func (t *Turn) Unshare(k message.Key) {
	if shared(k) {
		t.unshared = append(t.unshared, k.Seq())
	}
}

// manyReceivers is the number from which a message is separate from them, so
// that reading it for one of them does not read them all.
const manyReceivers = 64

// IsSeparate reports whether a message of some bytes that is not shared is
// separate from its n receivers.
func IsSeparate(n, size int) bool { return n > manyReceivers || size >= SeparateBytes }

// PutReceivers writes n receivers of one shard, encoded by AppendReceiver, and
// the message unless it is shared.
func (t *Turn) PutReceivers(k message.Key, n int, encoded []byte, m *message.Message) {
	separate := shared(k) || IsSeparate(n, m.Size())
	if separate && !shared(k) {
		t.key, t.val = messageKey(t.key[:0], k), appendMessage(t.val[:0], m, t.times)
		t.changes.Set(t.key, t.val)
	}
	t.key, t.val = receiversKey(t.key[:0], k), appendReceivers(t.val[:0], n, encoded, m, separate, t.times)
	t.changes.Set(t.key, t.val)
}

// AppendReceiver encodes one of the receivers for PutReceivers.
func AppendReceiver(dst []byte, rc *Receiver) []byte { return rc.append(dst) }

// Done writes that some of several receivers have got a message. n distinguishes
// this list from others of the same key.
func (t *Turn) Done(k message.Key, n uint64, sessions []uint64) {
	t.key, t.val = doneKey(t.key[:0], k, n), t.val[:0]
	for _, s := range sessions {
		t.val = binary.AppendUvarint(t.val, s)
	}
	t.changes.Set(t.key, t.val)
}

// DeleteReceivers deletes a message of which all receivers of a shard are done.
func (t *Turn) DeleteReceivers(r Record) { t.deleteReceivers(&t.changes, r) }

// FinallyDeleteReceivers does so when the turn is complete: other sessions have
// taken the message over.
func (t *Turn) FinallyDeleteReceivers(r Record) { t.deleteReceivers(&t.finally, r) }

// Record says how a message and its receivers were written.
type Record struct {
	Key      message.Key
	Sole     bool // there was one receiver
	Separate bool // the message is separate (IsSeparate)
	Lists    bool // Done was called for it
}

func (t *Turn) deleteReceivers(c *Changes, r Record) {
	t.key = receiversKey(t.key[:0], r.Key)
	if r.Sole && !shared(r.Key) {
		c.DeleteOnce(t.key)
	} else {
		c.Delete(t.key)
	}
	if r.Lists {
		t.key, t.val = doneKey(t.key[:0], r.Key, 0), receiversKey(t.val[:0], r.Key+1)
		c.DeleteRange(t.key, t.val)
	}
	if shared(r.Key) {
		t.unshared = append(t.unshared, r.Key.Seq())
	} else if r.Separate {
		t.key = messageKey(t.key[:0], r.Key)
		c.DeleteOnce(t.key)
	}
}
