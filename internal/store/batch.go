package store

// batch is what one commit of the backend applies. It belongs to the committer.
type batch struct {
	turns    []*Turn
	retained Changes  // of retained messages; before the turns, whose shards may promise them
	counts   []uint64 // of each shard, the turns from the start that this batch applies, or one before
	extra    Changes  // what follows from the turns being together
	lists    []*Changes
}

func (b *batch) isEmpty() bool { return len(b.turns) == 0 && b.retained.n == 0 }

// build gathers the changes: those of all turns in their order, the last changes
// of the turns that the batch completes, and the anchor of the clock. It reports
// whether somebody waits for a turn, and what leaves the backlog, in bytes.
func (b *batch) build(q *sequence, refs references, c *clock) (urgent bool, size int64) {
	b.extra.Reset()
	clear(b.lists)
	b.lists = b.lists[:0]
	if b.retained.n > 0 {
		b.lists = append(b.lists, &b.retained)
		size += int64(b.retained.Size())
	}
	for _, t := range b.turns {
		urgent = urgent || t.Urgent
		size += t.size()
		b.lists = append(b.lists, &t.changes)
		for _, sh := range t.sharing {
			refs.add(sh.seq, int32(sh.n), &b.extra)
		}
		for _, seq := range t.unshared {
			refs.add(seq, -1, &b.extra)
		}
		for _, p := range t.Passed {
			p.Awaits++
		}
		for _, a := range t.After {
			a.Urgent = a.Urgent || t.Urgent // t is not committed before a is durable, all of it
			a.Awaits--
		}
		t.applied = true
	}
	urgent = q.complete(&b.extra) || urgent
	c.tick(&b.extra, anchorEvery)
	if b.extra.n > 0 {
		b.lists = append(b.lists, &b.extra)
	}
	return urgent, size
}
