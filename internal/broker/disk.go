package broker

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/retained"
	"midge/internal/store"
)

// Store keeps what outlives the process. Methods are safe for use by all shards.
type Store interface {
	Load(l store.Loader) ([]store.Damaged, error) // before anything else

	NextSeq() uint64     // the number of a new message
	NextSession() uint64 // the number of a new session

	// Turn returns what a shard fills and hands back by Submit, which returns
	// its number. The store calls Broker.Released with it.
	Turn() *store.Turn
	Submit(shard int, t *store.Turn) (number uint64)

	retained.Store

	Fetch(f *store.Fetch)

	// Busy tells that so much waits for the disk that no more should come.
	Busy() bool

	// Stats are for $SYS.
	Stats() store.Stats

	// Err tells why nothing becomes durable at present, nil if it does. Failed
	// tells that nothing ever will.
	Err() error
	Failed() bool
}

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

// Released tells that a number of turns of a shard are on disk. The store calls
// it, from any goroutine.
func (b *Broker) Released(shard int, turns uint64) {
	b.shards[shard].released.Store(turns)
	b.runner.Wake(shard)
	b.wakeStalled()
}

// wakeStalled lets those shards look again whose publishers wait for the disk.
func (b *Broker) wakeStalled() {
	set := b.stalled.Swap(0)
	for i := 0; set != 0; set, i = set>>1, i+1 {
		if set&1 != 0 {
			b.runner.Wake(i)
		}
	}
}

// StoreChanged tells that Store.Err or Store.Failed may say something else now.
func (b *Broker) StoreChanged() {
	b.noteTrouble()
	for i := range b.shards {
		b.runner.Wake(i)
	}
}

// diskBusy tells that publishers of durable messages must wait. While nothing
// gets on disk at all they are refused instead.
func (s *shard) diskBusy() bool {
	st := s.b.cfg.Store
	return st != nil && st.Busy() && st.Err() == nil
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

// tend does what has to follow everything that changes what a session has under
// way or waiting.
func (s *shard) tend(cl *client) {
	if cl.stored() {
		if s.books.began {
			s.books.began = false
			turn := s.turnNow()
			s.promise(promise{then: func() { s.written(cl, turn) }})
		}
		s.fetch(cl)
	}
	if cl.shares() {
		s.account(cl)
	}
}

// written goes on with QoS 2 exchanges whose identifiers are on disk.
func (s *shard) written(cl *client, turn uint64) {
	cl.session.Committed(turn)
	if c := cl.online(); c != nil && c.pace == inTime {
		s.pump(c)
	}
}

// fetch reads the contents of messages that a client gets next.
func (s *shard) fetch(cl *client) {
	if cl.fetching || cl.online() == nil || s.shut && cl.conn.pace != inTime {
		return // pump will come back when the client may go on
	}
	items := cl.session.Wanted(nil)
	if len(items) == 0 {
		return
	}
	cl.fetching = true
	s.read(items, func(results []store.Result) {
		cl.fetching = false
		s.supply(cl, results)
	})
}

// read reads messages and hands them to then, on this shard.
func (s *shard) read(items []message.Stored, then func([]store.Result)) {
	s.b.cfg.Store.Fetch(&store.Fetch{Shard: s.index, Turn: s.turnNow(), Items: items, Done: func(results []store.Result) {
		s.b.runner.Post(s.index, func() {
			s.tell()
			then(results)
		})
	}})
}

// supply gives a session contents that were read.
func (s *shard) supply(cl *client, results []store.Result) {
	if s.clients.Get(cl.id) != cl {
		return
	}
	for _, r := range results {
		if r.Err != nil {
			if cl.session.Lost(r.Key) {
				s.lost(r)
			}
			continue
		}
		s.charge(r.Message.Size())
		cl.session.Supply(r.Key, r.Message)
	}
	if c := cl.online(); c != nil && c.pace == inTime {
		s.pump(c)
	}
}

// lost counts a message that can't be read.
func (s *shard) lost(r store.Result) {
	s.count.DroppedDamaged++
	s.log.Error("a stored message can't be read and is lost", "error", r.Err)
}

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
