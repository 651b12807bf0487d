package store

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"midge/internal/message"
	"midge/internal/packet"
)

// testDisk is a Backend of tests: a map that knows what a power cut would leave
// of it, and fails when the test says so.
type testDisk struct {
	mu     sync.Mutex
	now    map[string]string
	synced map[string]string // what a power cut leaves
	aside  []Damaged

	commits int
	syncs   int
	hook    func(sync bool, lists []*Changes) error // called before each commit is applied, nil: none
	getting func(key []byte) error                  // called before each Get
	refuses error                                   // the answer of Quarantine
}

func newTestDisk() *testDisk {
	return &testDisk{now: map[string]string{}, synced: map[string]string{}}
}

var errDisk = errors.New("the disk is broken")

// Commit implements Backend.
func (d *testDisk) Commit(sync bool, lists ...*Changes) error {
	if d.hook != nil {
		if err := d.hook(sync, lists); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.commits++
	for _, l := range lists {
		for c := range l.All() {
			d.apply(c)
		}
	}
	if sync {
		d.syncs++
		d.synced = map[string]string{}
		for k, v := range d.now {
			d.synced[k] = v
		}
	}
	return nil
}

// counted tells how much was written, and how often synced.
func (d *testDisk) counted() (commits, syncs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commits, d.syncs
}

func (d *testDisk) apply(c Change) {
	switch c.Op {
	case OpSet:
		d.now[string(c.Key)] = string(c.Value)
	case OpDelete, OpDeleteOnce:
		delete(d.now, string(c.Key))
	case OpDeleteRange:
		for k := range d.now {
			if k >= string(c.Key) && k < string(c.Value) {
				delete(d.now, k)
			}
		}
	}
}

// Get implements Backend.
func (d *testDisk) Get(dst, key []byte) ([]byte, error) {
	if d.getting != nil {
		if err := d.getting(key); err != nil {
			return dst, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.now[string(key)]
	if !ok {
		return dst, ErrNotFound
	}
	return append(dst, v...), nil
}

// Scan implements Backend.
func (d *testDisk) Scan(from, to []byte, yield func(key, value []byte) error) error {
	for _, k := range d.keys(from, to) {
		d.mu.Lock()
		v := d.now[k]
		d.mu.Unlock()
		if err := yield([]byte(k), []byte(v)); err != nil {
			return err
		}
	}
	return nil
}

// Quarantine implements Backend.
func (d *testDisk) Quarantine(records []Damaged) error {
	d.aside = append(d.aside, records...)
	return d.refuses
}

// Close implements Backend.
func (d *testDisk) Close() error { return nil }

func (d *testDisk) keys(from, to []byte) (keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k := range d.now {
		if k >= string(from) && k < string(to) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// all are the keys that are there.
func (d *testDisk) all() []string { return d.keys(nil, []byte{0xff}) }

func (d *testDisk) set(key, value []byte) { d.now[string(key)] = string(value) }

// testStore is a store whose steps the test takes.
type testStore struct {
	*Store
	freed []uint64 // by shard: turns that were released
}

func newTestStore(d Backend, shards int) *testStore {
	s := &testStore{freed: make([]uint64, shards)}
	s.Store = New(d, Config{Shards: shards, Committed: func(shard int, turns uint64) { s.freed[shard] = turns }})
	return s
}

func (s *testStore) mustLoad(t testing.TB, l Loader) []Damaged {
	t.Helper()
	damaged, err := s.Load(l)
	if err != nil {
		t.Fatal(err)
	}
	return damaged
}

// put submits a turn of a shard and commits it.
func (s *testStore) put(shard int, fill func(t *Turn)) *Turn {
	t := s.Turn()
	fill(t)
	s.Submit(shard, t)
	s.Step()
	return t
}

// testLoader takes what a start finds. Sessions live on the shard that their
// number says.
type testLoader struct {
	shards    int
	sessions  []Session
	wills     []Will
	subs      []Subscription
	retained  []*message.Message
	incoming  []packet.ID
	waiting   []Waiting
	exchanges []message.Key
	belongs   []uint64 // sessions that got something
}

func (l *testLoader) Session(s Session) { l.sessions = append(l.sessions, s) }
func (l *testLoader) Will(w Will)       { l.wills = append(l.wills, w) }

func (l *testLoader) Subscription(session uint64, s Subscription) {
	l.subs, l.belongs = append(l.subs, s), append(l.belongs, session)
}

func (l *testLoader) Retained(m *message.Message) { l.retained = append(l.retained, m) }

func (l *testLoader) Incoming(session uint64, id packet.ID) {
	l.incoming, l.belongs = append(l.incoming, id), append(l.belongs, session)
}

func (l *testLoader) Waiting(w Waiting) {
	w.All = slices.Clone(w.All)
	l.waiting = append(l.waiting, w)
	for _, rc := range w.All {
		l.belongs = append(l.belongs, rc.Session)
	}
}

func (l *testLoader) AwaitPubcomp(session uint64, k message.Key, _ packet.ID) {
	l.exchanges, l.belongs = append(l.exchanges, k), append(l.belongs, session)
}

func (l *testLoader) Shard(session uint64) int {
	for _, s := range l.sessions {
		if s.Number == session {
			return int(session) % l.shards
		}
	}
	return -1
}
