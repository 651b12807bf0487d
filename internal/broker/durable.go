package broker

import (
	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
)

// promise is something that a client is told once it is on disk.
type promise struct {
	turn uint64 // of the shard
	c    *conn  // the network connection that asked
	then func() // what to do, or:
	id   packet.ID
	qos  packet.QoS // acknowledge a PUBLISH of this QoS
	code packet.ReasonCode
}

// books are what a shard knows of the store.
type books struct {
	turn      *store.Turn // what this turn wants on disk, nil: nothing so far
	submitted uint64      // turns
	promises  []promise   // in the order of their turns, from kept on
	kept      int
	owed      map[*conn]int            // promises to acknowledge, by connection
	left      map[message.Key]left     // messages that were written for several receivers
	done      map[message.Key][]uint64 // sessions that got one of them in this turn
	graves    []*client                // sessions that have ended, with messages to delete
	receivers []byte                   // encoded
	began     bool                     // a QoS 2 exchange waits for its identifier to be on disk
}

// left is what is left of the receivers of a message: their number and how it
// was written.
type left uint32

const (
	leftApart left = 1 << 31
	leftLists left = 1 << 30
	leftCount      = leftLists - 1
)

// disk is what this turn wants on disk.
func (s *shard) disk() *store.Turn {
	if s.books.turn == nil {
		s.books.turn = s.b.cfg.Store.Turn()
	}
	return s.books.turn
}

// failing tells why nothing can be promised now.
func (s *shard) failing() error {
	if s.b.cfg.Store == nil {
		return nil
	}
	return s.b.cfg.Store.Err()
}

// turnNow is the turn that has all that was written so far.
func (s *shard) turnNow() uint64 {
	if s.books.turn != nil {
		return s.books.submitted + 1
	}
	return s.books.submitted
}

// promise does something once all that was written so far is on disk. c is the
// connection that it is for: if it closes before, nothing is done. nil is
// always open.
func (s *shard) promise(p promise) {
	p.turn = s.turnNow()
	if s.books.turn != nil {
		s.books.turn.Urgent = true
	} else if p.turn <= s.released.Load() && s.books.kept == len(s.books.promises) {
		s.keep(&p)
		return
	}
	if p.then == nil {
		s.books.owed[p.c]++
	}
	s.books.promises = append(s.books.promises, p)
}

// keepPromises keeps those that are on disk, and reports whether it left some
// of them for the next turn.
func (s *shard) keepPromises() (more bool) {
	b := &s.books
	if b.kept == len(b.promises) {
		return false
	}
	if s.b.cfg.Store.Failed() {
		s.breakPromises()
		return false
	}
	released, most := s.released.Load(), s.allowance()
	for b.kept < len(b.promises) && b.promises[b.kept].turn <= released {
		if s.work >= most {
			more = true
			break
		}
		s.work++
		p := b.promises[b.kept]
		b.promises[b.kept] = promise{}
		b.kept++
		if p.then == nil {
			if b.owed[p.c]--; b.owed[p.c] == 0 {
				delete(b.owed, p.c)
			}
		}
		s.keep(&p)
	}
	switch {
	case b.kept == len(b.promises):
		b.promises, b.kept = b.promises[:0], 0
	case b.kept > 1024 && b.kept > len(b.promises)/2:
		n := copy(b.promises, b.promises[b.kept:])
		clear(b.promises[n:])
		b.promises, b.kept = b.promises[:n], 0
	}
	return more
}

// breakPromises ends the connections that wait for a disk that has failed for
// good. Acknowledgements keep their order, so that these clients would not even
// hear a refusal; after CONNECT they do.
func (s *shard) breakPromises() {
	b := &s.books
	broken := b.promises[b.kept:]
	b.promises, b.kept = nil, 0
	clear(b.owed)
	for i := range broken {
		if c := broken[i].c; c != nil {
			s.end(c, packet.QuotaExceeded, "the server's disk has failed")
		}
	}
}

func (s *shard) keep(p *promise) {
	switch {
	case p.c != nil && p.c.closing:
	case p.then != nil:
		p.then()
	default:
		s.send(p.c, p.c.client.session.Acknowledge(s.out[:0], p.id, p.qos, p.code))
	}
}

// promiseBytes sends packets once all that was written so far is on disk.
func (s *shard) promiseBytes(c *conn, out []byte) {
	kept := append([]byte(nil), out...)
	s.promise(promise{c: c, then: func() { s.send(c, kept) }})
}

// submit hands what this turn wants on disk to the store. Batches for other
// shards that carry durable messages name the turn, so that it is complete only
// when they are on disk too. It comes before they are handed over.
func (s *shard) submit() {
	if s.b.cfg.Store == nil {
		return
	}
	for _, b := range s.outgoing {
		if b == nil {
			continue
		}
		for _, t := range b.turns { // of letters that were passed on
			s.disk().Passed = append(s.disk().Passed, t)
		}
		if b.durable {
			s.disk().Awaits++
			b.turns = append(b.turns, s.books.turn)
		}
	}
	for k, sessions := range s.books.done {
		s.disk().Done(k, s.b.cfg.Store.NextSeq(), sessions)
		s.books.left[k] |= leftLists
		delete(s.books.done, k)
	}
	t := s.books.turn
	if t == nil || t.Empty() {
		return
	}
	s.books.turn = nil
	s.books.submitted = s.b.cfg.Store.Submit(s.index, t)
}

// diskBusy reports whether publishers of durable messages must wait. While nothing
// gets on disk at all they are refused instead.
func (s *shard) diskBusy() bool {
	st := s.b.cfg.Store
	return st != nil && st.Busy() && st.Err() == nil
}
