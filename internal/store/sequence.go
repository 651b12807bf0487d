package store

import "sync/atomic"

// sequence is the turns that the committer has taken and that are not committed
// yet, of each shard in their order. It belongs to the committer, but for
// applied.
type sequence struct {
	shards    []shardTurns
	completed []*Turn // complete if the batch that is being built is applied
}

// shardTurns is the turns of a shard. A turn is applied with the batch that has
// its changes, complete when all that it awaits is applied as well, and committed
// when all turns before it and all that it builds on are complete.
type shardTurns struct {
	applied   atomic.Uint64 // turns, from the start
	committed uint64        // of these
	waiting   []*Turn       // taken and not committed, from head on
	head      int
	completed int // those before it are complete, or will be with this batch
}

func newSequence(shards int) sequence { return sequence{shards: make([]shardTurns, shards)} }

// applied is the number of turns of a shard that reads see.
func (q *sequence) applied(shard int) uint64 { return q.shards[shard].applied.Load() }

// add adds turns that the committer has taken.
func (q *sequence) add(turns []*Turn) {
	for _, t := range turns {
		s := &q.shards[t.shard]
		s.waiting = append(s.waiting, t)
	}
}

// complete finds the turns that await nothing more with this batch, adds their
// last changes to it, and returns how many of them somebody waits for. Those of a
// shard complete in their order: a crash must not take back a message and leave
// a later one of its publisher (MQTT-4.6.0-5).
func (q *sequence) complete(last *Changes) (awaited int) {
	clear(q.completed)
	q.completed = q.completed[:0]
	for before := -1; before < len(q.completed); { // one that is complete may let others be
		before = len(q.completed)
		for i := range q.shards {
			s := &q.shards[i]
			for s.completed < len(s.waiting) {
				t := s.waiting[s.completed]
				if !t.applied || t.Awaits > 0 || t.Behind && q.incompleteBefore(t) {
					break
				}
				last.Append(&t.finally)
				q.completed = append(q.completed, t)
				if t.Urgent {
					awaited++
				}
				s.completed++
			}
		}
	}
	return awaited
}

// incompleteBefore reports whether a turn that was submitted before t awaits
// something.
func (q *sequence) incompleteBefore(t *Turn) bool {
	for i := range q.shards {
		if s := &q.shards[i]; s.completed < len(s.waiting) && s.waiting[s.completed].number < t.number {
			return true
		}
	}
	return false
}

// apply notes that the batch was applied: all turns up to the counts of the
// shards.
func (q *sequence) apply(counts []uint64) {
	for _, t := range q.completed {
		t.complete = true
	}
	for i := range q.shards {
		q.shards[i].applied.Store(counts[i])
	}
}

// commit yields the turns of a shard that are committed now, and returns how many
// there are from the start, 0 if there are no more than before.
func (q *sequence) commit(shard int, yield func(*Turn)) uint64 {
	s := &q.shards[shard]
	before := s.committed
	for s.head < len(s.waiting) && s.waiting[s.head].isCommitted() {
		yield(s.waiting[s.head])
		s.waiting[s.head] = nil
		s.committed++
		s.head++
	}
	if s.head > len(s.waiting)/2 {
		n := copy(s.waiting, s.waiting[s.head:])
		clear(s.waiting[n:])
		s.waiting, s.head, s.completed = s.waiting[:n], 0, s.completed-s.head
	}
	if s.committed == before {
		return 0
	}
	return s.committed
}

// isCommitted reports whether a turn and all that it builds on are complete.
func (t *Turn) isCommitted() bool {
	if !t.complete {
		return false
	}
	for _, a := range t.After {
		if !a.complete {
			return false
		}
	}
	return true
}

// references is, for each shared message, how many shards still have receivers
// for it, by its number.
type references map[uint64]int32

// add adds n, which may be negative, and the deletion of the message to changes
// if that leaves none.
func (r references) add(seq uint64, n int32, changes *Changes) {
	if r[seq] += n; r[seq] == 0 {
		delete(r, seq)
		changes.Delete(sharedMessageKey(nil, seq)) // a start may have set it more than once
	}
}
