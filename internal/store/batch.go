package store

// batch is what one commit of the backend applies. It belongs to the committer.
type batch struct {
	turns    []*Turn
	retained Changes  // of retained messages; before the turns, whose shards may promise them
	counts   []uint64 // of each shard, the turns from the start that this batch applies, or one before
	extra    Changes  // what follows from the turns being together
	lists    []*Changes

	urgent  bool  // somebody waits for one of the turns, or for one that is complete now
	awaited int   // turns that are complete now, and that somebody waits for
	size    int64 // what leaves the backlog, in bytes
}

func (b *batch) isEmpty() bool { return len(b.turns) == 0 && b.retained.n == 0 }

// build gathers the changes: those of all turns in their order, the last changes
// of the turns that the batch completes, and the anchor of the clock.
func (b *batch) build(q *sequence, refs references, c *clock) {
	b.extra.Reset()
	clear(b.lists)
	b.lists, b.urgent, b.size = b.lists[:0], false, 0
	if b.retained.n > 0 {
		b.lists = append(b.lists, &b.retained)
		b.size += int64(b.retained.Size())
	}
	for _, t := range b.turns {
		b.urgent = b.urgent || t.Urgent
		b.size += t.size()
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
	b.awaited = q.complete(&b.extra)
	b.urgent = b.urgent || b.awaited > 0
	c.tick(&b.extra, anchorEvery)
	if b.extra.n > 0 {
		b.lists = append(b.lists, &b.extra)
	}
}
