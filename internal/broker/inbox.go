package broker

import "midge/internal/store"

// reading is how far a shard has read what others have posted.
type reading struct {
	batches  []*batch      // from the mailbox
	at       int           // in batches,
	envelope int           // and in that batch
	turns    []*store.Turn // of the batch whose envelopes are being read
}

// receive routes what other shards have posted, as far as the work of a turn
// goes, and reports whether it left some. What waits counts for the limit of the
// mailbox, so that publishers wait too.
func (s *shard) receive() (more bool) {
	if s.reading.at == len(s.reading.batches) {
		if s.inbox.bytes.Load() == 0 {
			return false
		}
		clear(s.reading.batches)
		s.reading.batches, s.reading.at = s.inbox.take(s.reading.batches[:0]), 0
	}
	for limit := s.allowance(); s.reading.at < len(s.reading.batches); s.reading.at++ {
		b := s.reading.batches[s.reading.at]
		done := s.readBatch(b, limit)
		if len(b.turns) > 0 {
			// This turn builds on those, and they are complete with the one that
			// has the last envelopes.
			s.disk.turn().After = append(s.disk.turn().After, b.turns...)
			if !done {
				s.disk.turn().Passed = append(s.disk.turn().Passed, b.turns...)
			}
		}
		if !done {
			return true
		}
		s.reading.envelope = 0
		s.inbox.bytes.Add(-int64(b.size))
		if b.then != nil {
			b.then()
		}
		s.b.batches.put(b)
	}
	if waiting := s.inbox.waiting.Swap(0); waiting != 0 {
		for i := range s.b.shards {
			if waiting&(1<<i) != 0 {
				s.b.runner.Wake(i)
			}
		}
	}
	return false
}

// readBatch routes the envelopes of a batch from envelopeAt on, until the work is as much
// as most. It reports whether that was the last.
func (s *shard) readBatch(b *batch, limit int) (done bool) {
	s.reading.turns = b.turns
	defer func() { s.reading.turns, s.payloadBuffer = nil, nil }()
	for ; s.reading.envelope < len(b.envelopes); s.reading.envelope++ {
		if s.work >= limit {
			return false
		}
		s.work++
		l := &b.envelopes[s.reading.envelope]
		b.open(l, &s.unpacked)
		if s.payloadBuffer = nil; l.parcel != nil {
			s.payloadBuffer = l.parcel.Buffer()
		}
		s.budget.charge(s.unpacked.Size())
		s.input.large = s.input.large || l.parcel != nil
		if l.group != nil {
			s.deliverMember(l, &s.unpacked)
			continue
		}
		s.deliverLocal(s.routes.Receivers(s.unpacked.Topic), &s.unpacked, nil, l.key)
	}
	return true
}

// afterEnvelopes does something for a connection once what other shards have routed here
// so far has reached its receivers: at once if nothing is left of it. The
// connection is paused until then.
func (s *shard) afterEnvelopes(c *conn, then func()) {
	if s.inbox.bytes.Load() == 0 {
		then()
		return
	}
	s.pause(c, forEnvelopes)
	b := s.b.batches.get()
	b.size = 64 // what counts as empty has no bytes
	b.then = func() {
		then()
		s.resume(c, forEnvelopes)
	}
	s.inbox.post(b) // whoever posted before has woken this shard
}
