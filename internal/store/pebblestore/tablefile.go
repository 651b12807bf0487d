package pebblestore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// entry is what a file says about a key at a sequence number.
type entry struct {
	key   []byte
	seq   uint64
	kind  pebble.InternalKeyKind
	value []byte
}

// before orders entries by key, and those of a key from the newest on.
func (e *entry) before(o *entry) bool {
	if c := bytes.Compare(e.key, o.key); c != 0 {
		return c < 0
	}
	return e.seq > o.seq
}

// gap is a range of keys that was deleted at a sequence number.
type gap struct {
	from, to []byte
	seq      uint64
}

// openTable opens a table. What damage does to Pebble's reader must not end
// the process.
func openTable(fs vfs.FS, name string) (r *sstable.Reader, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("%v", p)
		}
	}()
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	opts := &pebble.Options{FS: fs, Logger: silent{}}
	opts.EnsureDefaults()
	if r, err = sstable.NewReader(context.Background(), readable, opts.MakeReaderOptions()); err != nil {
		readable.Close()
		return nil, err
	}
	return r, nil
}

// silent is a logger for readers of tables.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

// tableSource yields the entries of a table in order. At a damaged block it
// goes on with the first key that can be reached from the end.
type tableSource struct {
	name   string
	r      *sstable.Reader
	it     sstable.Iterator
	begun  bool
	resume bool // a damaged block lies behind
	last   []byte
	seen   int64 // bytes of keys and values
	raw    int64 // those that the table had when it was written
	damage error
}

// newTableSource opens a table and reads its deleted ranges.
func newTableSource(fs vfs.FS, dir, name string) (s *tableSource, gaps []gap, err error) {
	r, err := openTable(fs, fs.PathJoin(dir, name))
	if err != nil {
		return nil, nil, err
	}
	s = &tableSource{name: name, r: r}
	if p, err := r.ReadPropertiesBlock(context.Background(), nil); err == nil {
		s.raw = int64(p.RawKeySize + p.RawValueSize)
	}
	if gaps, err = s.gaps(); err != nil {
		s.damage = fmt.Errorf("deleted ranges: %w", err)
	}
	if s.it, err = r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles); err != nil {
		return nil, nil, fmt.Errorf("%w (close: %v)", err, r.Close())
	}
	return s, gaps, nil
}

func (s *tableSource) gaps() (all []gap, err error) {
	it, err := s.r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return nil, err
	}
	defer it.Close()
	span, err := it.First()
	for ; span != nil; span, err = it.Next() {
		for _, k := range span.Keys {
			all = append(all, gap{bytes.Clone(span.Start), bytes.Clone(span.End), uint64(k.SeqNum())})
			s.seen += int64(len(span.Start) + 8 + len(span.End))
		}
	}
	return all, err
}

// next moves to the next entry, which stays valid until the next call.
func (s *tableSource) next(e *entry) bool {
	step := s.it.Next
	if !s.begun {
		s.begun, step = true, s.it.First
	}
	kv := step()
	if kv == nil && s.it.Error() != nil && !s.resume {
		s.damage, s.resume = s.it.Error(), true
		if key := s.reach(); key != nil {
			if kv = s.it.SeekGE(key, 0); kv == nil { // older entries of the key are damaged, or newer ones
				kv = s.it.SeekGE(append(key, 0), 0)
			}
		}
	}
	for kv != nil {
		v, _, err := kv.Value(nil)
		if err == nil {
			*e = entry{kv.K.UserKey, uint64(kv.SeqNum()), kv.Kind(), v}
			s.last = append(s.last[:0], e.key...)
			s.seen += int64(len(e.key) + 8 + len(v))
			return true
		}
		s.damage = err
		kv = s.it.Next()
	}
	return false
}

// reach is the first key that can be reached from the end of the table, behind
// those that were read; nil is none.
func (s *tableSource) reach() (key []byte) {
	for kv := s.it.Last(); kv != nil && bytes.Compare(kv.K.UserKey, s.last) > 0; kv = s.it.Prev() {
		key = append(key[:0], kv.K.UserKey...)
	}
	return key
}

// close ends the use of the table, and says what was lost of it.
func (s *tableSource) close() (lost int64, damage error) {
	s.it.Close()
	s.r.Close()
	if s.damage == nil {
		return 0, nil
	}
	return max(s.raw-s.seen, 1), s.damage
}
