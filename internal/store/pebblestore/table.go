package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"sort"

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

// tombstone is a range of keys that was deleted at a sequence number: Pebble's
// range tombstone.
type tombstone struct {
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

// tableSource yields the entries of a table in order, without those of damaged
// blocks.
type tableSource struct {
	name   string
	r      *sstable.Reader
	it     sstable.Iterator
	begun  bool
	last   []byte // the key that was read or sought last
	read   int64  // bytes of keys and values
	raw    int64  // those that the table had when it was written
	damage error
}

// newTableSource opens a table and reads its deleted ranges.
func newTableSource(fs vfs.FS, dir, name string) (s *tableSource, tombstones []tombstone, err error) {
	r, err := openTable(fs, fs.PathJoin(dir, name))
	if err != nil {
		return nil, nil, err
	}
	s = &tableSource{name: name, r: r}
	if p, err := r.ReadPropertiesBlock(context.Background(), nil); err == nil {
		s.raw = int64(p.RawKeySize + p.RawValueSize)
	}
	if tombstones, err = s.tombstones(); err != nil {
		s.damage = fmt.Errorf("deleted ranges: %w", err)
	}
	if s.it, err = r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles); err != nil {
		return nil, nil, fmt.Errorf("%w (close: %v)", err, r.Close())
	}
	return s, tombstones, nil
}

func (s *tableSource) tombstones() (all []tombstone, err error) {
	it, err := s.r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return nil, err
	}
	defer it.Close()
	span, err := it.First()
	for ; span != nil; span, err = it.Next() {
		for _, k := range span.Keys {
			all = append(all, tombstone{bytes.Clone(span.Start), bytes.Clone(span.End), uint64(k.SeqNum())})
			s.read += int64(len(span.Start) + 8 + len(span.End))
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
	for kv == nil && s.it.Error() != nil {
		s.damage = s.it.Error()
		if s.last = s.resumeKey(); s.last == nil {
			return false
		}
		kv = s.it.SeekGE(s.last, 0)
	}
	for kv != nil {
		v, _, err := kv.Value(nil)
		if err == nil {
			*e = entry{kv.K.UserKey, uint64(kv.SeqNum()), kv.Kind(), v}
			s.last = append(s.last[:0], e.key...)
			s.read += int64(len(e.key) + 8 + len(v))
			return true
		}
		s.damage = err
		kv = s.it.Next()
	}
	return false
}

// resumeKey is the key to go on with when a block can't be read; nil is none.
// Where the index is damaged as well, that is the first one that can be reached
// from the end.
func (s *tableSource) resumeKey() []byte {
	if s.last == nil {
		return []byte{} // lies in the first block
	}
	key, err := s.nextBlock(s.last)
	if err != nil {
		return s.firstFromEnd()
	}
	return key
}

// firstFromEnd is the first key after the last one read that can be reached from
// the end of the table; nil is none.
func (s *tableSource) firstFromEnd() (key []byte) {
	for kv := s.it.Last(); kv != nil && bytes.Compare(kv.K.UserKey, s.last) > 0; kv = s.it.Prev() {
		key = append(key[:0], kv.K.UserKey...)
	}
	return key
}

// nextBlock is the first key of the block after the one in which key lies, or nil
// if that is the last one. Older entries of a key that ends the
// block may begin the next one: they don't count, and are left out.
//
// Pebble says how many bytes the blocks up to that of a key take, which is as
// good as the index: the greatest key with the same number ends the block.
func (s *tableSource) nextBlock(key []byte) ([]byte, error) {
	var failure error
	upTo := func(key []byte) uint64 {
		n, err := s.r.EstimateDiskUsage([]byte{}, key, sstable.NoReadEnv)
		if err != nil {
			failure = err
		}
		return n
	}
	here := upTo(key)
	if upTo(bytes.Repeat([]byte{0xff}, len(key)+64)) == here {
		return nil, failure
	}
	var end []byte
	for failure == nil {
		b := sort.Search(256, func(b int) bool { return upTo(append(end, byte(b))) > here })
		if b == 0 {
			return append(end, 0), failure
		}
		end = append(end, byte(b-1))
	}
	return nil, failure
}

// close ends the use of the table. It returns how many bytes were lost, about, and
// why.
func (s *tableSource) close() (lost int64, damage error) {
	s.it.Close()
	s.r.Close()
	if s.damage == nil {
		return 0, nil
	}
	return max(s.raw-s.read, 1), s.damage
}
