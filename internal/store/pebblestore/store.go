package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"midge/internal/store"
)

// Store is a store.Backend on disk.
type Store struct {
	dir    string
	db     *pebble.DB
	disk   *disk
	unlock io.Closer
	log    *slog.Logger
	now    func() time.Time

	// batch and synced belong to Commit, and to the committer between a send to work
	// and the answer in done.
	batch    *pebble.Batch
	synced   uint64 // all sequence numbers before it are on disk; 0 is unknown
	work     chan *pebble.WriteOptions
	done     chan error
	ended    chan struct{} // closed when the committer has ended
	commits  atomic.Int64
	syncs    atomic.Int64
	lastSync atomic.Int64 // how long the last commit with sync took, in nanoseconds

	deletions  atomic.Int64 // committed
	committing atomic.Bool  // Pebble commits a batch

	quarantining sync.Mutex    // one Quarantine at a time
	reclaimed    chan struct{} // closed when the reclaimer has ended

	mu     sync.Mutex
	idle   *sync.Cond // users is 0
	users  int        // calls that use db
	closed bool
}

func newStore(dir string, db *pebble.DB, scheduler *scheduler, d *disk, unlock io.Closer, o Options) *Store {
	s := &Store{
		dir: dir, db: db, disk: d, unlock: unlock, log: o.Log, now: o.now,
		batch:     db.NewBatch(),
		work:      make(chan *pebble.WriteOptions),
		done:      make(chan error, 1),
		ended:     make(chan struct{}),
		reclaimed: make(chan struct{}),
	}
	s.idle = sync.NewCond(&s.mu)
	go s.committer()
	r := &reclaimer{cond: d.condition, db: newCompactor(d.condition, db, scheduler, &s.deletions), committing: &s.committing}
	go func() {
		defer close(s.reclaimed)
		r.run()
	}()
	return s
}

// committer commits batches in a goroutine of its own: after a failure Pebble
// may keep it for ever, and Commit goes on without it.
func (s *Store) committer() {
	defer close(s.ended)
	for o := range s.work {
		s.done <- s.commitBatch(o)
	}
}

// commitBatch commits the batch. Pebble panics where it knows no way on, as
// when it cannot begin a new log.
func (s *Store) commitBatch(o *pebble.WriteOptions) (err error) {
	s.committing.Store(true)
	defer s.committing.Store(false)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pebble: %v", p)
		}
		if err == nil {
			err = s.disk.failure() // Pebble expects that Fatalf does not return
		}
		if err != nil {
			s.disk.fail(err)
		}
	}()
	if err := s.batch.Commit(o); err != nil {
		return err
	}
	// The batch of many bytes is gone, and with it its number.
	if seq := uint64(s.batch.SeqNum()); o.Sync && seq != 0 {
		s.synced = seq + uint64(s.batch.Count())
	}
	return nil
}

// Commit applies the changes of all lists: see store.Backend.
func (s *Store) Commit(sync bool, lists ...*store.Changes) error {
	if err := s.enter(); err != nil {
		return s.wrap("commit", err)
	}
	defer s.leave()
	if err := s.disk.failure(); err != nil {
		return s.wrap("commit", fmt.Errorf("after an earlier failure: %w", err))
	}
	s.batch.Reset()
	deletions := 0
	for _, l := range lists {
		n, err := addChanges(s.batch, l)
		if err != nil {
			return s.wrap("commit", err)
		}
		deletions += n
	}
	if !sync && s.batch.Empty() {
		return nil
	}
	if err := s.batch.LogData(binary.LittleEndian.AppendUint64(nil, s.synced), nil); err != nil { // see history
		return s.wrap("commit", err)
	}
	began := time.Now()
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	s.work <- o
	select {
	case err := <-s.done:
		if err != nil {
			return s.wrap("commit", err)
		}
	case <-s.disk.failed:
		// The committer may be done, or may wait for ever for one of Pebble's
		// goroutines that failed. The batch stays with it.
		return s.wrap("commit", s.disk.failure())
	}
	s.commits.Add(1)
	s.deletions.Add(int64(deletions))
	if sync {
		s.syncs.Add(1)
		s.lastSync.Store(int64(time.Since(began)))
	}
	return nil
}

// addChanges adds changes to a batch, and returns how many are deletions.
func addChanges(b *pebble.Batch, l *store.Changes) (deletions int, err error) {
	for c := range l.All() {
		switch c.Op {
		case store.OpSet:
			err = b.Set(c.Key, c.Value, nil)
		case store.OpDelete:
			err = b.Delete(c.Key, nil)
		case store.OpDeleteOnce:
			err = b.SingleDelete(c.Key, nil)
		case store.OpDeleteRange:
			err = b.DeleteRange(c.Key, c.Value, nil)
		}
		if err != nil {
			return deletions, err
		}
		if c.Op != store.OpSet {
			deletions++
		}
	}
	return deletions, nil
}

// Backlog is how many bytes may wait to be committed, so that the ballast
// suffices for them. 0 is unknown.
func (s *Store) Backlog() int64 { return backlogTables * s.disk.ballast.table }

// Get appends the value of a key to dst, or returns store.ErrNotFound.
func (s *Store) Get(dst, key []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return dst, s.wrap("get", err)
	}
	defer s.leave()
	dst, err := get(s.db, dst, key)
	if err != nil && !isNotFound(err) {
		err = s.wrap("get", err)
	}
	return dst, err
}

// Getter begins getting many values: see store.Series.
func (s *Store) Getter() store.Getter {
	if err := s.enter(); err != nil {
		return &storeGetter{s: s, closed: err}
	}
	return &storeGetter{s: s, getter: newGetter(s.db)}
}

// storeGetter is a getter that a store waits for.
type storeGetter struct {
	s *Store
	*getter
	closed error // the store was closed before
}

func (g *storeGetter) Get(dst, key []byte) ([]byte, error) {
	if g.closed != nil {
		return dst, g.s.wrap("get", g.closed)
	}
	dst, err := g.get(dst, key)
	if err != nil && !isNotFound(err) {
		err = g.s.wrap("get", err)
	}
	return dst, err
}

func (g *storeGetter) Close() {
	if g.closed == nil {
		g.close()
		g.s.leave()
	}
}

// Scan yields the keys from the first to before the second, as they are when
// it is called.
func (s *Store) Scan(from, to []byte, yield func(key, value []byte) error) error {
	if err := s.enter(); err != nil {
		return s.wrap("scan", err)
	}
	defer s.leave()
	broken, err := scan(s.db, from, to, yield)
	if broken != nil {
		return s.wrap("scan", broken)
	}
	return err
}

// Close ends the use of the store: what was committed is on disk if it returns
// nil. A Commit that waits for space ends with an error. Close waits for calls
// of Get and Scan to end.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.disk.close() // ends Commit, if that waits for space
	for s.users > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	close(s.work)
	err := s.closePebble()
	s.disk.fail(ErrClosed) // whatever is left of Pebble changes nothing any more
	if err = errors.Join(err, s.unlock.Close()); err != nil {
		return s.wrap("close", err)
	}
	return nil
}

// closeTimeout is how long Close waits for a commit, or for the reclaimer, after it
// has ended all waits for space, while the disk counts as full. Guess.
const closeTimeout = 2 * time.Second

// closePebble closes the database. After a failure Pebble is left alone, on a
// disk that takes nothing from it: its goroutines do not end any more.
func (s *Store) closePebble() error {
	if err := s.disk.failure(); err != nil {
		return err
	}
	return s.disk.guard(func() error {
		for _, ended := range []chan struct{}{s.reclaimed, s.ended} {
			for waits := true; waits; {
				select {
				case <-ended:
					waits = false
				case <-time.After(closeTimeout):
					if full, _ := s.disk.isFull(); full {
						return errors.New("a commit has not ended: compactions have no space")
					}
				}
			}
		}
		err := errors.Join(s.batch.Close(), s.db.Close())
		s.disk.direct.close()
		return err
	})
}

// enter begins a use of the database that Close waits for; leave ends it.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.users++
	return nil
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		s.idle.Signal()
	}
}

// wrap says which operation failed where.
func (s *Store) wrap(op string, err error) error {
	return fmt.Errorf("%s in the store in %s: %w", op, s.dir, err)
}
