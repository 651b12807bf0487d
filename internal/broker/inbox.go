package broker

// receive routes what other shards have posted, as far as the work of a turn
// goes, and reports whether it left some. What waits counts for the limit of the
// mailbox, so that publishers wait too.
func (s *shard) receive() (more bool) {
	if s.batch == len(s.taken) {
		if s.inbox.bytes.Load() == 0 {
			return false
		}
		clear(s.taken)
		s.taken, s.batch = s.inbox.take(s.taken[:0]), 0
	}
	for most := s.allowance(); s.batch < len(s.taken); s.batch++ {
		b := s.taken[s.batch]
		done := s.readBatch(b, most)
		if len(b.turns) > 0 {
			// This turn builds on those, and they are complete with the one that
			// has the last letters.
			s.disk().After = append(s.disk().After, b.turns...)
			if !done {
				s.disk().Passed = append(s.disk().Passed, b.turns...)
			}
		}
		if !done {
			return true
		}
		s.letterAt = 0
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

// readBatch routes the letters of a batch from letterAt on, until the work is as much
// as most. It reports whether that was the last.
func (s *shard) readBatch(b *batch, most int) (done bool) {
	s.opened = b.turns
	defer func() { s.opened, s.payloadBuffer = nil, nil }()
	for ; s.letterAt < len(b.letters); s.letterAt++ {
		if s.work >= most {
			return false
		}
		s.work++
		l := &b.letters[s.letterAt]
		b.open(l, &s.letter)
		if s.payloadBuffer = nil; l.kept != nil {
			s.payloadBuffer = l.kept.buffer
		}
		s.charge(s.letter.Size())
		s.large = s.large || l.kept != nil
		if l.group != nil {
			s.deliverMember(l, &s.letter)
			continue
		}
		s.deliverLocal(s.routes.Receivers(s.letter.Topic), &s.letter, nil, l.key)
	}
	return true
}

// afterLetters does something for a connection once what other shards have routed here
// so far has reached its receivers: at once if nothing is left of it. The
// connection is paused until then.
func (s *shard) afterLetters(c *conn, then func()) {
	if s.inbox.bytes.Load() == 0 {
		then()
		return
	}
	s.pause(c, forLetters)
	b := s.b.batches.get()
	b.size = 64 // what counts as empty has no bytes
	b.then = func() {
		then()
		s.resume(c, forLetters)
	}
	s.inbox.post(b) // whoever posted before has woken this shard
}
