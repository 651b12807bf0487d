// Package memstore is a store of ordered keys in memory: for tests, and for
// brokers that keep nothing.
package memstore

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"sync"

	"midge/internal/store"
)

// Store is a store.Backend in memory. The zero value is empty and ready for
// use.
type Store struct {
	mu     sync.RWMutex
	runs   []run // none is empty; ordered by their first keys
	closed bool
}

// run is a piece of the ordered list. Runs are short, so that an insertion
// moves little: runMax entries at most and the list of runs when one splits.
type run []entry

const runMax = 256

// entry is a key and its value. Neither changes once it is here, so that Scan
// can hand them out without the lock.
type entry struct{ key, value []byte }

// New returns an empty store.
func New() *Store { return &Store{} }

var errClosed = errors.New("store in memory: closed")

// Commit applies the changes. There is nothing to sync.
func (s *Store) Commit(_ bool, lists ...*store.Changes) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	for _, l := range lists {
		for c := range l.All() {
			switch c.Op {
			case store.OpSet:
				s.set(bytes.Clone(c.Key), bytes.Clone(c.Value))
			case store.OpDelete, store.OpDeleteOnce:
				s.delete(c.Key)
			case store.OpDeleteRange:
				s.deleteRange(c.Key, c.Value)
			}
		}
	}
	return nil
}

// Quarantine keeps nothing: in memory a copy would end when the records do.
func (s *Store) Quarantine([]store.Damaged) error { return nil }

// Get appends the value of a key to dst, or returns store.ErrNotFound.
func (s *Store) Get(dst, key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return dst, errClosed
	}
	if r, i, found := s.find(key); found {
		return append(dst, s.runs[r][i].value...), nil
	}
	return dst, store.ErrNotFound
}

// Scan yields the keys from the first to before the second. It holds no lock
// while it does, and sees what Commit does ahead of it.
func (s *Store) Scan(from, to []byte, yield func(key, value []byte) error) error {
	var batch []entry
	for {
		var err error
		if batch, err = s.batch(batch[:0], from, to); err != nil || len(batch) == 0 {
			return err
		}
		for _, e := range batch {
			if err := yield(e.key, e.value); err != nil {
				return err
			}
		}
		last := batch[len(batch)-1].key
		from = append(bytes.Clone(last), 0) // the next key there can be
	}
}

// batch appends the next entries to dst, those of one run.
func (s *Store) batch(dst []entry, from, to []byte) ([]entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errClosed
	}
	r, i, _ := s.find(from)
	if r < len(s.runs) && i == len(s.runs[r]) {
		r, i = r+1, 0
	}
	if r == len(s.runs) {
		return dst, nil
	}
	for _, e := range s.runs[r][i:] {
		if bytes.Compare(e.key, to) >= 0 {
			break
		}
		dst = append(dst, e)
	}
	return dst, nil
}

// Close ends the use of the store and drops what it holds.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs, s.closed = nil, true
	return nil
}

// find is the place of a key, or the place where it would go.
func (s *Store) find(key []byte) (r, i int, found bool) {
	r = sort.Search(len(s.runs), func(r int) bool { return bytes.Compare(s.runs[r][0].key, key) > 0 })
	if r == 0 {
		return 0, 0, false
	}
	r--
	i, found = slices.BinarySearchFunc(s.runs[r], key, func(e entry, key []byte) int { return bytes.Compare(e.key, key) })
	return r, i, found
}

func (s *Store) set(key, value []byte) {
	if len(s.runs) == 0 {
		s.runs = append(s.runs, run{{key, value}})
		return
	}
	r, i, found := s.find(key)
	if found {
		s.runs[r][i].value = value
		return
	}
	full := slices.Insert(s.runs[r], i, entry{key, value})
	s.runs[r] = full
	if len(full) > runMax {
		half := len(full) / 2
		s.runs = slices.Insert(s.runs, r+1, slices.Clone(full[half:]))
		s.runs[r] = slices.Delete(full, half, len(full))
	}
}

func (s *Store) delete(key []byte) {
	if r, i, found := s.find(key); found {
		s.cut(r, i, i+1)
	}
}

func (s *Store) deleteRange(from, to []byte) {
	for r, i, _ := s.find(from); r < len(s.runs); {
		end := i + sort.Search(len(s.runs[r])-i, func(n int) bool { return bytes.Compare(s.runs[r][i+n].key, to) >= 0 })
		last := end < len(s.runs[r])
		if !s.cut(r, i, end) {
			r++
		}
		if last {
			return
		}
		i = 0
	}
}

// cut removes entries of a run, and reports whether the run went with them.
func (s *Store) cut(r, i, j int) (gone bool) {
	s.runs[r] = slices.Delete(s.runs[r], i, j)
	if len(s.runs[r]) > 0 {
		return false
	}
	s.runs = slices.Delete(s.runs, r, r+1)
	return true
}
