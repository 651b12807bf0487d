package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"midge/internal/message"
	"midge/internal/packet"
)

// Loader gets what is on disk when a broker starts, in the order of the
// methods. Nothing runs meanwhile.
type Loader interface {
	Session(s Session)
	Will(w Will)
	Subscription(session uint64, s Subscription)
	Retained(m *message.Message)
	Incoming(session uint64, id packet.ID)

	// Waiting gets a message that waits for sessions, all on one shard;
	// the messages of a session come in their order. The receivers are
	// borrowed.
	Waiting(w Waiting)

	// AwaitPubcomp restores a QoS 2 exchange whose message the client has.
	AwaitPubcomp(session uint64, k message.Key, id packet.ID)

	// Shard is where a session lives, -1 if it is not known.
	Shard(session uint64) int
}

// Waiting is a message that waits for sessions of one shard.
type Waiting struct {
	Receivers
	Written int  // receivers in the record, with those that are done
	Lists   bool // some have been marked as done
}

// Damaged is a record that could not be read.
type Damaged struct {
	Key, Value []byte
	Err        error
}

// Load reads everything back, and tidies up after a crash: messages that were
// not with all shards, receivers that are not there any more, and shards that
// were others before. Records that could not be read are removed too, once the
// backend has set them aside. The error is one of the backend.
func (s *Store) Load(l Loader) (damaged []Damaged, err error) {
	ld := loading{s: s, l: l, undecided: map[uint64]bool{}, exchanges: map[exchange]Outgoing{}}
	if err := ld.scan(kindClock, ld.clock); err != nil {
		return ld.damaged, err
	}
	s.clock.begin(ld.anchor)
	for _, step := range []struct {
		kind byte
		read func(key, value []byte) error
	}{
		{kindSession, ld.session},
		{kindWill, ld.will},
		{kindSubscription, ld.subscription},
		{kindRetained, ld.retained},
		{kindIncoming, ld.incoming},
		{kindOutgoing, ld.outgoing},
		{kindUndecided, ld.readUndecided},
		{kindReceivers, ld.receivers},
	} {
		if err := ld.scan(step.kind, step.read); err != nil {
			return ld.damaged, err
		}
	}
	ld.finish()
	for seq := range ld.undecided {
		ld.resolve(seq)
	}
	ld.awaitPubcomp()
	s.reads.loaded = s.seq.Load()
	s.clock.begun(&ld.changes)
	if err := ld.commit(0); err != nil {
		return ld.damaged, err
	}
	if err := s.backend.Commit(true); err != nil {
		return ld.damaged, fmt.Errorf("store: load: %w", err)
	}
	return ld.damaged, nil
}

// scan reads all records of a kind.
func (ld *loading) scan(kind byte, read func(key, value []byte) error) error {
	err := ld.s.backend.Scan([]byte{kind}, []byte{kind + 1}, func(key, value []byte) error {
		if err := read(key[1:], value); err != nil {
			ld.damaged = append(ld.damaged, Damaged{slices.Clone(key), slices.Clone(value), err})
			ld.changes.Delete(key)
		}
		return ld.commit(1 << 20)
	})
	if err != nil {
		return fmt.Errorf("store: load: %w", err)
	}
	return nil
}

// loading is the state of Load.
type loading struct {
	s           *Store
	l           Loader
	damaged     []Damaged
	quarantined int     // of these
	failed      error   // of the backend, where there was no way to return it
	anchor      *anchor // nil: none
	changes     Changes
	undecided   map[uint64]bool // seq -> take it back
	group       []Waiting       // the records of one message, in the order of their parts
	exchanges   map[exchange]Outgoing
}

// exchange names a QoS 2 exchange towards a client.
type exchange struct {
	session uint64
	key     message.Key // steady
}

// commit commits what tidying changed, if it is more than some bytes. What it
// removes because it is damaged is set aside before, so that a crash at any
// moment leaves the record or the copy.
func (ld *loading) commit(more int) error {
	if ld.failed != nil {
		return fmt.Errorf("store: load: %w", ld.failed)
	}
	if ld.changes.Size() <= more {
		return nil
	}
	defer ld.changes.Reset()
	if fresh := ld.damaged[ld.quarantined:]; len(fresh) > 0 {
		if err := ld.s.backend.Quarantine(fresh); err != nil {
			return fmt.Errorf("store: load: %w", err)
		}
		ld.quarantined = len(ld.damaged)
	}
	if err := ld.s.backend.Commit(false, &ld.changes); err != nil {
		return fmt.Errorf("store: load: %w", err)
	}
	return nil
}

// number splits a number off a key.
func number(key []byte) (n uint64, rest []byte, err error) {
	if len(key) < 8 {
		return 0, nil, errDamaged
	}
	return binary.BigEndian.Uint64(key), key[8:], nil
}

// sessionNumber splits the number of a session off a key, and sees to it that
// it is not given again.
func (ld *loading) sessionNumber(key []byte) (n uint64, rest []byte, err error) {
	n, rest, err = number(key)
	if err == nil {
		ld.s.numbers.Store(max(ld.s.numbers.Load(), n))
	}
	return n, rest, err
}

func (ld *loading) seen(seq uint64) { ld.s.seq.Store(max(ld.s.seq.Load(), seq)) }

func (ld *loading) clock(key, value []byte) error {
	a := &anchor{}
	if err := a.decode(value); err != nil || len(key) > 0 {
		return errDamaged
	}
	ld.anchor = a
	return nil
}

func (ld *loading) session(key, value []byte) error {
	n, rest, err := ld.sessionNumber(key)
	if err != nil || len(rest) > 0 {
		return errDamaged
	}
	s := Session{Number: n}
	if err := s.decode(value, ld.s.clock.times); err != nil {
		return err
	}
	s.Left = ld.s.clock.limit(s.Left, 0)
	ld.l.Session(s)
	return nil
}

func (ld *loading) will(key, value []byte) error {
	n, rest, err := number(key)
	if err != nil || len(rest) > 0 {
		return errDamaged
	}
	ld.seen(n)
	w := Will{Number: n}
	if err := w.decode(slices.Clone(value), ld.s.clock.times); err != nil {
		return err
	}
	ld.l.Will(w)
	return nil
}

// known reports whether a session is there; what belongs to another is
// deleted.
func (ld *loading) known(kind byte, n uint64, key []byte) bool {
	if ld.l.Shard(n) >= 0 {
		return true
	}
	ld.changes.Delete(append([]byte{kind}, key...))
	return false
}

func (ld *loading) subscription(key, value []byte) error {
	n, rest, err := ld.sessionNumber(key)
	if err != nil {
		return err
	}
	sub := Subscription{Filter: string(rest)}
	if err := sub.decode(value); err != nil {
		return err
	}
	if ld.known(kindSubscription, n, key) {
		ld.l.Subscription(n, sub)
	}
	return nil
}

func (ld *loading) retained(_, value []byte) error {
	m, err := decodeMessage(value, ld.s.clock.times)
	if err != nil {
		return err
	}
	m.Expires = ld.s.clock.limit(m.Expires, m.Interval)
	ld.l.Retained(m.Clone())
	return nil
}

func (ld *loading) incoming(key, _ []byte) error {
	n, rest, err := ld.sessionNumber(key)
	if err != nil || len(rest) != 2 {
		return errDamaged
	}
	if ld.known(kindIncoming, n, key) {
		ld.l.Incoming(n, packet.ID(binary.BigEndian.Uint16(rest)))
	}
	return nil
}

func (ld *loading) outgoing(key, value []byte) error {
	n, rest, err := ld.sessionNumber(key)
	if err != nil || len(rest) != 8 {
		return errDamaged
	}
	k := message.Key(binary.BigEndian.Uint64(rest))
	ld.seen(k.Seq())
	var o Outgoing
	if err := o.decode(value); err != nil {
		return err
	}
	if ld.known(kindOutgoing, n, key) {
		ld.exchanges[exchange{n, k}] = o
	}
	return nil
}

// awaitPubcomp hands over the exchanges whose message is with the client. One that
// is not has lost its message, and ends.
func (ld *loading) awaitPubcomp() {
	rest := slices.SortedFunc(maps.Keys(ld.exchanges), func(a, b exchange) int { return cmp.Compare(a.key, b.key) })
	for _, x := range rest {
		if o := ld.exchanges[x]; o.AwaitsPubcomp {
			ld.l.AwaitPubcomp(x.session, x.key, o.ID)
		} else {
			ld.changes.Delete(outgoingKey(nil, x.session, x.key))
		}
	}
}

func (ld *loading) readUndecided(key, value []byte) error {
	seq, rest, err := number(key)
	if err != nil || len(rest) > 0 || len(value) != 1 {
		return errDamaged
	}
	ld.seen(seq)
	ld.undecided[seq] = value[0] != 0
	return nil
}

// receivers reads a record of receivers or a list of those that are done, which
// follows it.
func (ld *loading) receivers(key, value []byte) error {
	n, rest, err := number(key)
	if err != nil {
		return err
	}
	k := message.Key(n)
	ld.seen(k.Seq())
	if len(rest) > 0 {
		return ld.done(k, rest, value)
	}
	if len(ld.group) > 0 && ld.group[0].Key.Seq() != k.Seq() {
		ld.finish()
	}
	w := Waiting{Receivers: Receivers{Key: k}}
	if err = w.decode(slices.Clone(value), ld.s.clock.times, true); err != nil {
		w = Waiting{Receivers: Receivers{Key: k, Separate: true}} // nobody needs its message, wherever that is
	}
	w.Written = len(w.All)
	w.Expires = ld.s.clock.limit(w.Expires, w.Interval)
	w.Message.Expires = ld.s.clock.limit(w.Message.Expires, w.Message.Interval)
	ld.group = append(ld.group, w)
	return err
}

func (ld *loading) done(k message.Key, rest, value []byte) error {
	if len(rest) != 8 {
		return errDamaged
	}
	ld.seen(binary.BigEndian.Uint64(rest))
	if len(ld.group) == 0 || ld.group[len(ld.group)-1].Key != k {
		ld.changes.Delete(append(receiversKey(nil, k), rest...))
		return nil
	}
	w := &ld.group[len(ld.group)-1]
	w.Lists = true
	var gone []uint64
	for r := (reader{b: value}); len(r.b) > 0; {
		gone = append(gone, r.uvarint())
		if r.broken {
			return errDamaged
		}
	}
	slices.Sort(gone)
	w.All = slices.DeleteFunc(w.All, func(rc Receiver) bool {
		_, found := slices.BinarySearch(gone, rc.Session)
		return found
	})
	return nil
}

// finish hands the records of one message to the broker.
func (ld *loading) finish() {
	if len(ld.group) == 0 {
		return
	}
	group := ld.group
	ld.group = ld.group[:0]
	seq := group[0].Key.Seq()
	takeBack, undecided := ld.undecided[seq]
	moved := false
	for i := range group {
		w := &group[i]
		w.All = slices.DeleteFunc(w.All, func(rc Receiver) bool { return takeBack || ld.l.Shard(rc.Session) < 0 })
		moved = moved || ld.moved(w)
	}
	if moved {
		group = ld.move(group)
	}
	for i := range group {
		w := &group[i]
		if len(w.All) == 0 {
			ld.drop(w)
			continue
		}
		if shared(w.Key) {
			ld.s.refs[seq]++
		}
		for i := range w.All {
			x := exchange{w.All[i].Session, steady(w.Key)}
			w.All[i].Begun = ld.exchanges[x]
			delete(ld.exchanges, x)
		}
		ld.l.Waiting(*w)
	}
	if undecided {
		ld.resolve(seq)
	} else if ld.s.refs[seq] == 0 && slices.ContainsFunc(group, func(w Waiting) bool { return shared(w.Key) }) {
		ld.changes.Delete(sharedMessageKey(nil, seq))
	}
}

// resolve ends what is undecided about a message.
func (ld *loading) resolve(seq uint64) {
	delete(ld.undecided, seq)
	ld.changes.Delete(undecidedKey(nil, seq))
	if ld.s.refs[seq] == 0 {
		ld.changes.Delete(sharedMessageKey(nil, seq))
	}
}

// drop deletes a record of receivers, and its message if it is its own.
func (ld *loading) drop(w *Waiting) {
	ld.changes.Delete(receiversKey(nil, w.Key))
	if w.Lists {
		ld.changes.DeleteRange(doneKey(nil, w.Key, 0), receiversKey(nil, w.Key+1))
	}
	if w.Separate && !shared(w.Key) {
		ld.changes.Delete(messageKey(nil, w.Key))
	}
}

// moved reports whether the receivers of a record are not where its part says,
// because the number of shards has changed.
func (ld *loading) moved(w *Waiting) bool {
	if w.Key.Part() >= partGroups {
		return false // one receiver, wherever it is
	}
	for i := range w.All {
		at := ld.l.Shard(w.All[i].Session)
		if shared(w.Key) && PartOfShard(at) != w.Key.Part() || at != ld.l.Shard(w.All[0].Session) {
			return true
		}
	}
	return false
}

// move makes new records for the shards that receivers are on now: one for
// each, with a separate message. Those of shared subscriptions stay.
func (ld *loading) move(group []Waiting) (all []Waiting) {
	var body *message.Message
	parts := map[uint8]*Waiting{}
	for i := range group {
		w := &group[i]
		if w.Key.Part() >= partGroups {
			all = append(all, *w)
			continue
		}
		if body == nil {
			body = ld.body(w)
		}
		for _, rc := range w.All {
			part := PartOfShard(ld.l.Shard(rc.Session))
			if parts[part] == nil {
				parts[part] = &Waiting{Receivers: Receivers{Key: message.NewKey(w.Key.Seq(), part), Size: w.Size, Expires: w.Expires, Interval: w.Interval, Separate: true}}
			}
			parts[part].All = append(parts[part].All, rc)
		}
		ld.drop(w)
	}
	if body == nil {
		body = &message.Message{}
	}
	for _, w := range parts {
		var encoded []byte
		for i := range w.All {
			encoded = w.All[i].append(encoded)
		}
		w.Written = len(w.All)
		ld.changes.Set(receiversKey(nil, w.Key), appendReceivers(nil, w.Written, encoded, body, true, ld.s.clock.times))
		all = append(all, *w)
	}
	if len(parts) > 0 {
		ld.changes.Set(sharedMessageKey(nil, group[0].Key.Seq()), appendMessage(nil, body, ld.s.clock.times))
	}
	slices.SortFunc(all, func(a, b Waiting) int { return int(a.Key.Part()) - int(b.Key.Part()) })
	return all
}

// body is the message of a record, nil if it is lost: missing, or damaged and
// set aside.
func (ld *loading) body(w *Waiting) *message.Message {
	if !w.Separate {
		return &w.Message
	}
	key := messageKey(nil, w.Key)
	value, err := ld.s.backend.Get(nil, key)
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			ld.failed = err
		}
		return nil
	}
	m, err := decodeMessage(value, ld.s.clock.times)
	if err != nil {
		ld.damaged = append(ld.damaged, Damaged{key, value, err})
		return nil
	}
	return &m
}
