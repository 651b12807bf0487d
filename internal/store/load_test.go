package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/message"
)

// TestKeys proves that keys keep the order that starts rely on, and that
// records of one kind never lie among those of another.
func TestKeys(t *testing.T) {
	k := message.NewKey(7, PartOwn)
	inOrder := [][]byte{
		subscriptionKey(nil, 1, "a"), subscriptionKey(nil, 1, "b"), subscriptionKey(nil, 2, "a"), subscriptionKey(nil, 1<<40, "a"),
		incomingKey(nil, 1, 1), incomingKey(nil, 1, 300), incomingKey(nil, 2, 1),
		messageKey(nil, message.NewKey(6, PartOfShard(63))), messageKey(nil, k),
		receiversKey(nil, k), doneKey(nil, k, 0), doneKey(nil, k, 500), receiversKey(nil, k+1),
		receiversKey(nil, message.NewKey(7, 255)), receiversKey(nil, message.NewKey(8, 0)),
		sessionKey(nil, 1), sessionKey(nil, 256), retainedKey(nil, []byte("a")), retainedKey(nil, []byte("a/b")),
		undecidedKey(nil, 3), willKey(nil, 4), outgoingKey(nil, 1, k), outgoingKey(nil, 1, k+256),
	}
	for i := 1; i < len(inOrder); i++ {
		if string(inOrder[i-1]) >= string(inOrder[i]) {
			t.Errorf("% x does not come before % x", inOrder[i-1], inOrder[i])
		}
	}
	if a, b := messageKey(nil, message.NewKey(7, PartOfShard(0))), messageKey(nil, message.NewKey(7, PartOfShard(63))); string(a) != string(b) {
		t.Error("shards do not share a message")
	}
	if a, b := outgoingKey(nil, 1, message.NewKey(7, PartOfShard(5))), outgoingKey(nil, 1, k); string(a) != string(b) {
		t.Error("an exchange does not survive a change of the number of shards")
	}
	parts := map[uint8]bool{PartOwn: true}
	for i := range 64 {
		parts[PartOfShard(i)] = true
	}
	groups := 0
	for part, ok := PartOfGroup(0); ok; part, ok = PartOfGroup(groups) {
		if parts[part] {
			t.Fatalf("part %d is given twice", part)
		}
		parts[part] = true
		groups++
	}
	if groups != maxGroups || len(parts) != 1+64+maxGroups {
		t.Errorf("%d groups, %d parts", groups, len(parts))
	}
}

// receivers puts a message for sessions.
func receivers(t *Turn, k message.Key, m *message.Message, sessions ...uint64) {
	var b []byte
	for _, s := range sessions {
		b = AppendReceiver(b, &Receiver{Session: s, QoS: m.QoS})
	}
	t.PutReceivers(k, len(sessions), b, m)
}

// sessions puts sessions 1 to n.
func sessions(s *testStore, n int) {
	s.put(0, func(t *Turn) {
		for i := range n {
			t.PutSession(&Session{Number: uint64(i + 1), ClientID: fmt.Sprint("c", i+1), Expiry: 60})
		}
	})
}

// start loads what a disk has, with some number of shards.
func start(t *testing.T, d *testDisk, shards int) (*testStore, *testLoader) {
	t.Helper()
	s, l := newTestStore(d, shards), &testLoader{shards: shards}
	if damaged := s.mustLoad(t, l); len(damaged) > 0 {
		t.Fatalf("damaged: %q", damaged)
	}
	return s, l
}

// kinds are the records that are there, each by its kind.
func (d *testDisk) kinds() (text string) {
	for _, k := range d.all() {
		text += k[:1]
	}
	return text
}

// TestLoadAll proves that a start finds everything that turns have written, and
// nothing that they have dropped.
func TestLoadAll(t *testing.T) {
	d := newTestDisk()
	s := newTestStore(d, 1)
	sessions(s, 2)
	m, topic := testMessage(), []byte("r")
	k := message.NewKey(s.NextSeq(), PartOwn)
	s.Retain(&message.Message{Topic: topic, Payload: []byte("x")})
	s.put(0, func(t *Turn) {
		t.PutSubscription(1, &Subscription{Filter: "a", QoS: 1})
		t.PutSubscription(1, &Subscription{Filter: "b", QoS: 2})
		t.PutWill(&Will{Number: 9, ClientID: "c1", Message: m})
		t.PutIncoming(1, 5, false)
		t.PutIncoming(2, 6, true)
		receivers(t, k, &m, 1, 2)
		t.PutOutgoing(2, k, Outgoing{ID: 3})
		t.PutOutgoing(1, message.NewKey(1, 0), Outgoing{ID: 4, AwaitsPubcomp: true})
		t.Done(k, s.NextSeq(), []uint64{1})
	})
	s2, l := start(t, d, 1)
	if len(l.sessions) != 2 || len(l.subs) != 2 || len(l.wills) != 1 || len(l.retained) != 1 || len(l.incoming) != 2 || len(l.exchanges) != 1 {
		t.Fatalf("loaded %+v", l)
	}
	w := l.waiting
	if len(w) != 1 || len(w[0].All) != 1 || w[0].All[0].Session != 2 || w[0].Written != 2 || !w[0].Lists || w[0].All[0].Begun != (Outgoing{ID: 3}) {
		t.Fatalf("waiting: %+v", w)
	}
	if s2.NextSeq() <= 9 || s2.NextSession() != 3 {
		t.Error("a number is given again")
	}
	s2.Unretain(topic)
	s2.put(0, func(t *Turn) {
		t.DeleteSubscription(1, "a")
		t.DeleteSubscription(1, "b")
		t.DeleteWill(9)
		t.DeleteIncoming(1, 5, false)
		t.DeleteIncoming(2, 6, true)
		t.DeleteReceivers(Record{Key: k, Lists: true})
		t.DeleteOutgoing(2, k)
		t.DeleteOutgoing(1, message.NewKey(1, 0))
		t.DeleteSession(1)
		t.FinallyDeleteSession(2)
	})
	if left := d.all(); len(left) > 0 {
		t.Errorf("left on disk: %q", left)
	}
	if b := s2.Backlog(); b != 0 {
		t.Errorf("%d bytes are left in the backlog", b)
	}
}

// TestLoadCounts proves that a start gives no number again that a record has,
// whatever record it is: a message with the number of a QoS 2 exchange, say, would
// end when that one does.
func TestLoadCounts(t *testing.T) {
	m := testMessage()
	own := message.NewKey(20, PartOwn)
	for _, tt := range []struct {
		name string
		put  func(t *Turn)
	}{
		{"will", func(t *Turn) { t.PutWill(&Will{Number: 500, ClientID: "c1", Message: m}) }},
		{"exchange", func(t *Turn) { t.PutOutgoing(1, message.NewKey(500, PartOwn), Outgoing{ID: 1, AwaitsPubcomp: true}) }},
		{"undecided", func(t *Turn) { t.Undecided(500, true); t.Awaits++ }},
		{"receivers", func(t *Turn) { receivers(t, message.NewKey(500, PartOwn), &m, 1) }},
		{"receivers that are done", func(t *Turn) { receivers(t, own, &m, 1, 2); t.Done(own, 500, []uint64{1}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newTestDisk()
			s := newTestStore(d, 1)
			sessions(s, 7)
			s.put(0, tt.put)
			s, _ = start(t, d, 1)
			if n := s.NextSeq(); n <= 500 {
				t.Errorf("number %d is given after 500", n)
			}
			if n := s.NextSession(); n != 8 {
				t.Errorf("session %d is given after 7", n)
			}
		})
	}
}

// TestLoadTidies proves that a start removes what belongs to nobody.
func TestLoadTidies(t *testing.T) {
	m, large := testMessage(), testMessage(func(m *message.Message) { m.Payload = make([]byte, SeparateBytes) })
	own, shards := message.NewKey(20, PartOwn), message.NewKey(20, PartOfShard(0))
	for _, tt := range []struct {
		name string
		fill func(t *Turn)
		left string // kinds of records, besides session 1 and 2
	}{
		{"subscription of no session", func(t *Turn) { t.PutSubscription(9, &Subscription{Filter: "a"}) }, ""},
		{"QoS 2 identifiers of no session", func(t *Turn) {
			t.PutIncoming(9, 1, false)
			t.PutOutgoing(9, own, Outgoing{ID: 1, AwaitsPubcomp: true})
		}, ""},
		{"message for no session", func(t *Turn) { receivers(t, own, &m, 9) }, ""},
		{"large message for no session", func(t *Turn) { receivers(t, own, &large, 9) }, ""},
		{"message for one that is there and one that is not", func(t *Turn) { receivers(t, own, &m, 1, 9) }, "r"},
		{"all receivers are done", func(t *Turn) { receivers(t, own, &m, 1, 2); t.Done(own, 21, []uint64{2, 1}) }, ""},
		{"a list of receivers without a message", func(t *Turn) { t.Done(own, 21, []uint64{2, 1}) }, ""},
		{"exchange without a message", func(t *Turn) { t.PutOutgoing(1, own, Outgoing{ID: 1}) }, ""},
		{"exchange that is released", func(t *Turn) { t.PutOutgoing(1, own, Outgoing{ID: 1, AwaitsPubcomp: true}) }, "x"},
		{"shared message without receivers", func(t *Turn) { t.Undecided(20, false); t.Share(20, 2, &m); t.Awaits++ }, ""},
		{"shared message with receivers", func(t *Turn) {
			t.Undecided(20, false)
			t.Share(20, 2, &m)
			receivers(t, shards, &m, 1)
			t.Awaits++
		}, "mr"},
		{"shared message for no session", func(t *Turn) { t.Share(20, 1, &m); receivers(t, shards, &m, 9) }, ""},
		{"undecided message is taken back", func(t *Turn) {
			t.Undecided(20, true)
			t.Share(20, 2, &m)
			receivers(t, shards, &m, 1)
			t.PutOutgoing(1, shards, Outgoing{ID: 1})
			t.PutIncoming(2, 3, true)
			t.Awaits++
		}, ""},
		{"undecided message of several groups is taken back", func(t *Turn) {
			t.Undecided(20, true)
			part, _ := PartOfGroup(3)
			receivers(t, message.NewKey(20, part), &large, 1)
			t.Awaits++
		}, ""},
		{"a decided message stays", func(t *Turn) {
			t.Undecided(20, true)
			receivers(t, own, &m, 1)
			t.PutIncoming(2, 3, true)
		}, "ir"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newTestDisk()
			s := newTestStore(d, 2)
			sessions(s, 2)
			s.put(0, tt.fill)
			for range 2 { // the second start finds nothing to do
				start(t, d, 1)
				want := []byte("ss" + tt.left)
				slices.Sort(want)
				if d.kinds() != string(want) {
					t.Fatalf("records %q are left, want %q", d.kinds(), want)
				}
			}
			if len(d.synced) != len(d.now) {
				t.Error("a start left something unsynced")
			}
		})
	}
}

// TestTurnAwaits proves that the last changes of a turn wait for the turns that
// it awaits, and its release too.
func TestTurnAwaits(t *testing.T) {
	d := newTestDisk()
	s := newTestStore(d, 2)
	sessions(s, 2)
	first := s.put(0, func(t *Turn) { t.Urgent, t.Awaits = true, 1; t.PutIncoming(1, 1, true); t.FinallyDeleteSession(2) })
	s.put(0, func(t *Turn) { t.PutIncoming(1, 2, false) })
	if d.kinds() != "iss" || s.freed[0] != 1 {
		t.Fatalf("records %q, %d turns released before the turn is complete", d.kinds(), s.freed[0])
	}
	syncs := d.syncs
	s.put(1, func(t *Turn) { t.After = []*Turn{first} })
	if d.kinds() != "iis" || s.freed[0] != 3 || s.freed[1] != 1 || d.syncs != syncs+1 {
		t.Fatalf("records %q, turns %v released, %d syncs after it is complete", d.kinds(), s.freed, d.syncs-syncs)
	}
}

// TestLoadReshards starts with other numbers of shards, again and again: every
// receiver keeps its message, which can be read by the key that it has then.
func TestLoadReshards(t *testing.T) {
	d := newTestDisk()
	s := newTestStore(d, 2)
	const n = 9
	sessions(s, n)
	m := testMessage()
	large := testMessage(func(m *message.Message) { m.Payload = make([]byte, SeparateBytes) })
	part, _ := PartOfGroup(0)
	s.put(0, func(t *Turn) {
		t.Share(30, 2, &m)
		receivers(t, message.NewKey(30, PartOfShard(0)), &m, 2, 4, 6, 8)
		receivers(t, message.NewKey(30, PartOfShard(1)), &m, 1, 3, 5, 7, 9)
		receivers(t, message.NewKey(30, part), &m, 3) // by a shared subscription as well
		receivers(t, message.NewKey(31, PartOwn), &large, 2, 4, 6, 8)
		receivers(t, message.NewKey(32, PartOwn), &m, 1)
		t.PutOutgoing(4, message.NewKey(30, PartOfShard(0)), Outgoing{ID: 77})
	})
	want := map[uint64][2]uint64{ // seq -> receivers, bytes
		30: {n + 1, uint64(m.Size())}, 31: {4, uint64(large.Size())}, 32: {1, uint64(m.Size())},
	}
	for _, shards := range []int{3, 1, 64, 2, 5, 5} {
		s, l := start(t, d, shards)
		got := map[uint64]uint64{}
		for _, w := range l.waiting {
			at := l.Shard(w.All[0].Session)
			for _, rc := range w.All {
				if l.Shard(rc.Session) != at {
					t.Fatalf("%d shards: receivers of message %d are on several", shards, w.Key)
				}
				if rc.Begun.ID != 0 != (rc.Session == 4 && w.Key.Seq() == 30) {
					t.Errorf("%d shards: session %d, message %d: exchange %+v", shards, rc.Session, w.Key.Seq(), rc.Begun)
				}
				s.Fetch(&Fetch{Items: []message.Stored{{Key: w.Key, Size: w.Size, Sole: w.Written == 1}}, Done: func(r []Result) {
					if r[0].Err != nil || r[0].Message.Size() != int(want[w.Key.Seq()][1]) {
						t.Errorf("%d shards: message %d/%d: %v", shards, w.Key.Seq(), w.Key.Part(), r[0].Err)
						return
					}
					got[w.Key.Seq()]++
				}})
			}
		}
		s.StepReads()
		for seq, w := range want {
			if got[seq] != w[0] {
				t.Errorf("%d shards: message %d for %d receivers, want %d", shards, seq, got[seq], w[0])
			}
		}
		if t.Failed() {
			return
		}
	}
	s, l := start(t, d, 4)
	s.put(0, func(t *Turn) { // all are done
		for _, w := range l.waiting {
			t.DeleteReceivers(Record{Key: w.Key, Sole: w.Written == 1, Separate: w.Separate, Lists: w.Lists})
		}
		t.DeleteOutgoing(4, message.NewKey(30, PartOwn))
	})
	if left := d.keys([]byte("a"), []byte("s")); len(left) > 0 {
		t.Errorf("left on disk: %q", left)
	}
}

// TestLoadDamaged proves that records which can't be read are handed out with
// the reason and removed, with what only they made sense of, and that everything
// else is loaded.
func TestLoadDamaged(t *testing.T) {
	own := message.NewKey(20, PartOwn)
	large := testMessage(func(m *message.Message) { m.Payload = make([]byte, SeparateBytes) })
	for _, tt := range []struct {
		name string
		key  []byte
		left string
	}{
		{"session", sessionKey(nil, 1), ""},
		{"will", willKey(nil, 8), "bmrs"},
		{"subscription", subscriptionKey(nil, 1, "a"), "mrs"},
		{"retained", retainedKey(nil, []byte("r")), "bmrs"},
		{"incoming", []byte("i123"), "bmrs"},
		{"outgoing", outgoingKey(nil, 1, own), "bmrs"},
		{"undecided", append(undecidedKey(nil, 3), 'x'), "bmrs"},
		{"receivers", receiversKey(nil, own), "bs"},
		{"receivers that are done", doneKey(nil, own, 30), "bmrs"},
		{"receivers with a short key", []byte("r12"), "bmrs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newTestDisk()
			s := newTestStore(d, 1)
			sessions(s, 1)
			s.put(0, func(t *Turn) {
				t.PutSubscription(1, &Subscription{Filter: "a", QoS: 1})
				receivers(t, own, &large, 1)
			})
			d.set(tt.key, []byte{0xff})
			damaged := newTestStore(d, 1).mustLoad(t, &testLoader{shards: 1})
			if len(damaged) != 1 || string(damaged[0].Key) != string(tt.key) || string(damaged[0].Value) != "\xff" || damaged[0].Err == nil {
				t.Fatalf("damaged: %q", damaged)
			}
			if !slices.EqualFunc(d.aside, damaged, func(a, b Damaged) bool { return string(a.Key) == string(b.Key) }) {
				t.Errorf("set aside: %q", d.aside)
			}
			if d.kinds() != tt.left {
				t.Errorf("records %q are left, want %q", d.kinds(), tt.left)
			}
			start(t, d, 1)
		})
	}
}

// TestLoadSetsAside proves that a start which removes more damaged records than
// go into one commit sets each aside once, before a commit removes it; and that
// it removes none that could not be set aside.
func TestLoadSetsAside(t *testing.T) {
	d := newTestDisk()
	const records = 40
	for i := range records {
		d.set(retainedKey(nil, fmt.Appendf(nil, "%d/%s", i, strings.Repeat("x", 60_000))), []byte{0xff})
	}
	d.refuses = errDisk
	if _, err := newTestStore(d, 1).Load(&testLoader{shards: 1}); !errors.Is(err, errDisk) || len(d.now) != records {
		t.Fatalf("%v, and %d records are left of %d that could not be set aside", err, len(d.now), records)
	}
	d.aside, d.refuses = nil, nil
	commits := 0
	d.hook = func(_ bool, lists []*Changes) error {
		for _, l := range lists {
			commits++
			for c := range l.All() {
				if !slices.ContainsFunc(d.aside, func(a Damaged) bool { return string(a.Key) == string(c.Key) }) {
					t.Fatalf("commit %d removes %.5q, which was not set aside", commits, c.Key)
				}
			}
		}
		return nil
	}
	newTestStore(d, 1).mustLoad(t, &testLoader{shards: 1})
	if len(d.now) > 0 || len(d.aside) != records || commits < 3 {
		t.Errorf("%d records are left and %d were set aside of %d, in %d commits", len(d.now), len(d.aside), records, commits)
	}
}

// TestLoadFails proves that the errors of a disk end a start.
func TestLoadFails(t *testing.T) {
	d := newTestDisk()
	s := newTestStore(d, 1)
	s.put(0, func(t *Turn) { t.PutSubscription(9, &Subscription{Filter: "a"}) })
	d.hook = func(bool, []*Changes) error { return errDisk }
	if _, err := newTestStore(d, 1).Load(&testLoader{shards: 1}); err == nil {
		t.Error("a start went on although the disk takes nothing")
	}
}

// TestFetch proves that messages are read wherever they lie, that a reader waits
// for those that are on their way to the disk, and that it is told of those that
// can't be read.
func TestFetch(t *testing.T) {
	d := newTestDisk()
	s := newTestStore(d, 1)
	m, large := testMessage(), testMessage(func(m *message.Message) { m.Payload = make([]byte, SeparateBytes) })
	m.Expires = time.Minute
	key := func(seq uint64) message.Key { return message.NewKey(seq, PartOwn) }
	many := make([]uint64, manyReceivers+1)
	s.put(0, func(t *Turn) {
		receivers(t, key(1), &m, 1)
		receivers(t, key(2), &m, 1, 2)
		receivers(t, key(3), &large, 1)
		receivers(t, key(4), &m, many...)
	})
	d.set(receiversKey(nil, key(5)), []byte{0})
	var got []Result
	fetch := func(turn uint64, items ...message.Stored) {
		got = nil
		s.Fetch(&Fetch{Turn: turn, Items: items, Done: func(r []Result) { got = r }})
		s.StepReads()
	}
	fetch(1,
		message.Stored{Key: key(1), Size: m.Size(), Sole: true}, message.Stored{Key: key(2), Size: m.Size()},
		message.Stored{Key: key(3), Size: large.Size(), Sole: true}, message.Stored{Key: key(4), Size: m.Size()},
		message.Stored{Key: key(5), Size: 9, Sole: true}, message.Stored{Key: key(6), Size: 9, Sole: true})
	if len(got) != 6 {
		t.Fatalf("%d results", len(got))
	}
	for i, want := range []*message.Message{&m, &m, &large, &m} {
		if got[i].Err != nil || got[i].Key != key(uint64(i+1)) || text(got[i].Message) != text(want) {
			t.Errorf("message %d: %v, %v", i+1, got[i].Message, got[i].Err)
		}
	}
	if got[4].Err == nil || got[5].Err == nil {
		t.Error("messages that can't be read were read")
	}

	fetch(2, message.Stored{Key: key(7), Size: m.Size(), Sole: true})
	if got != nil {
		t.Fatal("a reader did not wait for what is on its way")
	}
	s.put(0, func(t *Turn) { receivers(t, key(7), &m, 1) })
	s.StepReads()
	if len(got) != 1 || got[0].Err != nil {
		t.Fatalf("got %v", got)
	}

	d.getting = func([]byte) error { return fmt.Errorf("block 7: %w", ErrDamaged) }
	fetch(3, message.Stored{Key: key(1), Size: m.Size(), Sole: true})
	if len(got) != 1 || !errors.Is(got[0].Err, ErrDamaged) || s.Failed() {
		t.Fatalf("got %v of a damaged message", got)
	}
	d.getting = nil

	fetch(9, message.Stored{Key: key(1), Size: m.Size(), Sole: true}, message.Stored{Key: key(8), Size: 9, Sole: true})
	if got != nil {
		t.Fatal("a reader did not wait")
	}
	d.hook = func(bool, []*Changes) error { return errDisk }
	s.put(0, func(t *Turn) { receivers(t, key(8), &m, 1) })
	s.StepReads()
	if got != nil {
		t.Fatalf("got %v although what is on its way will never be there", got)
	}
	fetch(9, message.Stored{Key: key(1), Size: m.Size(), Sole: true}, message.Stored{Key: key(8), Size: 9, Sole: true})
	if len(got) != 1 || got[0].Err != nil {
		t.Fatalf("got %v after the disk has failed", got)
	}
}

// TestFetchFails proves that a message is given up only for damage: a record that
// makes no sense, of which a copy is set aside, or one that is not there. After
// any other error of the disk the store has failed, and nothing is answered but
// what was read.
func TestFetchFails(t *testing.T) {
	m := message.Message{Topic: []byte("a/b"), Payload: []byte("payload"), QoS: 1}
	key := func(n uint64) message.Key { return message.NewKey(n, PartOwn) }
	big := message.Stored{Key: key(2), Size: SeparateBytes, Sole: true}
	for _, test := range []struct {
		name   string
		at     int // the message that cannot be read
		err    error
		answer int
		failed bool
	}{
		{"input/output error at the first", 1, syscall.EIO, 0, true},
		{"input/output error at the second", 2, syscall.EIO, 1, true},
		{"no descriptors", 1, syscall.EMFILE, 0, true},
		{"no memory", 2, syscall.ENOMEM, 1, true},
		{"closed", 1, errors.New("store closed"), 0, true},
		{"damage", 1, fmt.Errorf("block: %w", ErrDamaged), 3, false},
		{"missing", 2, ErrNotFound, 3, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newTestDisk()
			s := newTestStore(d, 1)
			s.mustLoad(t, &testLoader{shards: 1})
			for n := uint64(1); n <= 3; n++ {
				s.put(0, func(t *Turn) { receivers(t, key(n), &m, 1) })
			}
			d.getting = func(k []byte) error {
				if bytes.Equal(k, receiversKey(nil, key(uint64(test.at)))) {
					return test.err
				}
				return nil
			}
			items := []message.Stored{{Key: key(1), Size: m.Size(), Sole: true}, {Key: key(2), Size: m.Size(), Sole: true}, {Key: key(3), Size: m.Size(), Sole: true}}
			var got []Result
			s.Fetch(&Fetch{Turn: 3, Items: items, Done: func(r []Result) { got = r }})
			s.StepReads()
			if len(got) != test.answer || s.Failed() != test.failed {
				t.Fatalf("%d answers, want %d; failed %v, want %v", len(got), test.answer, s.Failed(), test.failed)
			}
			for i, r := range got {
				if damaged := errors.Is(r.Err, ErrDamaged); damaged != (i+1 == test.at) || (r.Err != nil) != damaged {
					t.Errorf("message %d: %v", i+1, r.Err)
				}
			}
			if (s.Err() != nil) != test.failed {
				t.Errorf("the store says %v", s.Err())
			}
		})
	}
	for _, test := range []struct {
		key  []byte
		item message.Stored
	}{{messageKey(nil, big.Key), big}, {receiversKey(nil, key(1)), message.Stored{Key: key(1), Size: 9, Sole: true}}} {
		for _, refuses := range []error{nil, errDisk} {
			d := newTestDisk()
			s := newTestStore(d, 1)
			s.mustLoad(t, &testLoader{shards: 1})
			d.set(test.key, []byte{0xff})
			d.refuses = refuses
			var got []Result
			s.Fetch(&Fetch{Items: []message.Stored{test.item}, Done: func(r []Result) { got = r }})
			s.StepReads()
			if len(d.aside) != 1 || !bytes.Equal(d.aside[0].Key, test.key) || !bytes.Equal(d.aside[0].Value, []byte{0xff}) {
				t.Errorf("%q: set aside: %v", test.key, d.aside)
			}
			if s.Failed() != (refuses != nil) || (len(got) == 1) != (refuses == nil) {
				t.Errorf("%q, set aside with %v: %v, failed %v", test.key, refuses, got, s.Failed())
			}
		}
	}
}

// TestMoveUnreadable starts with another number of shards, which needs messages
// that lie apart. When the disk does not read one, the start fails and changes
// nothing; one that is damaged is set aside.
func TestMoveUnreadable(t *testing.T) {
	m := message.Message{Topic: []byte("a/b"), Payload: make([]byte, SeparateBytes), QoS: 1}
	k := message.NewKey(7, PartOwn)
	prepare := func() *testDisk {
		d := newTestDisk()
		s := newTestStore(d, 1)
		s.mustLoad(t, &testLoader{shards: 1})
		s.put(0, func(t *Turn) {
			t.PutSession(&Session{Number: 1, ClientID: "one"})
			t.PutSession(&Session{Number: 2, ClientID: "two"})
			receivers(t, k, &m, 1, 2)
		})
		s.Sync()
		return d
	}
	for _, err := range []error{syscall.EIO, syscall.EMFILE, fmt.Errorf("database %w", ErrDamaged)} {
		d := prepare()
		before := d.all()
		d.getting = func([]byte) error { return err }
		if _, got := newTestStore(d, 2).Load(&testLoader{shards: 2}); !errors.Is(got, err) {
			t.Errorf("the start says %v, want %v", got, err)
		}
		if !slices.Equal(d.all(), before) {
			t.Errorf("the start changed records although the disk says %v", err)
		}
	}
	d := prepare()
	d.set(messageKey(nil, k), []byte{0xff})
	if damaged := newTestStore(d, 2).mustLoad(t, &testLoader{shards: 2}); len(damaged) != 1 || len(d.aside) != 1 {
		t.Errorf("damaged %v, set aside %v", damaged, d.aside)
	}
}
