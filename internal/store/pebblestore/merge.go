package pebblestore

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// source yields entries in their order: a table, or the changes of a log.
type source interface {
	next(e *entry) bool
}

// logSource holds the changes of a log in memory, in their order. A log is
// about as long as a table in memory may be.
type logSource struct {
	entries    []entry
	tombstones []tombstone
}

// add adds the changes of a record, which is a batch. A batch that makes no
// sense is skipped from there on.
func (s *logSource) add(record []byte) error {
	head, ok := batchrepr.ReadHeader(record)
	if !ok {
		return nil
	}
	seq := uint64(head.SeqNum)
	r := batchrepr.Read(bytes.Clone(record))
	for {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			return err
		}
		switch kind {
		case pebble.InternalKeyKindLogData:
			continue // takes no sequence number
		case pebble.InternalKeyKindRangeDelete:
			s.tombstones = append(s.tombstones, tombstone{key, value, seq})
		default:
			s.entries = append(s.entries, entry{key, seq, kind, value})
		}
		seq++
	}
}

// sort brings the changes in order, once all are there.
func (s *logSource) sort() {
	slices.SortFunc(s.entries, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(b.seq, a.seq))
	})
}

func (s *logSource) next(e *entry) bool {
	if len(s.entries) == 0 {
		return false
	}
	*e, s.entries = s.entries[0], s.entries[1:]
	return true
}

// merger yields the newest entry of each key of all sources that is a value,
// and was not deleted since.
type merger struct {
	heads      []*head     // a heap
	tombstones []tombstone // by their beginnings; those that begin after the key
	active     []tombstone // those that have begun
	key        []byte
}

// head is the next entry of a source.
type head struct {
	entry
	from source
}

func newMerger(sources []source, tombstones []tombstone) *merger {
	slices.SortFunc(tombstones, func(a, b tombstone) int { return bytes.Compare(a.from, b.from) })
	m := &merger{tombstones: tombstones}
	for _, s := range sources {
		if h := (&head{from: s}); s.next(&h.entry) {
			m.heads = append(m.heads, h)
		}
	}
	heap.Init(m)
	return m
}

// each calls yield with each key and value, which are borrowed.
func (m *merger) each(yield func(key, value []byte) error) error {
	for first := true; len(m.heads) > 0; first = false {
		e := &m.heads[0].entry
		if first || !bytes.Equal(e.key, m.key) {
			m.key = append(m.key[:0], e.key...)
			if m.isVisible(e) {
				if err := yield(e.key, e.value); err != nil {
					return err
				}
			}
		}
		if m.heads[0].from.next(e) {
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
	}
	return nil
}

// isVisible reports whether the newest entry of a key is a value that no tombstone
// covers.
func (m *merger) isVisible(e *entry) bool {
	for len(m.tombstones) > 0 && bytes.Compare(m.tombstones[0].from, e.key) <= 0 {
		m.active = append(m.active, m.tombstones[0])
		m.tombstones = m.tombstones[1:]
	}
	m.active = slices.DeleteFunc(m.active, func(t tombstone) bool { return bytes.Compare(t.to, e.key) <= 0 })
	if e.kind != pebble.InternalKeyKindSet && e.kind != pebble.InternalKeyKindSetWithDelete {
		return false
	}
	return !slices.ContainsFunc(m.active, func(t tombstone) bool { return t.seq > e.seq })
}

// The methods of heap.Interface.

func (m *merger) Len() int           { return len(m.heads) }
func (m *merger) Less(i, j int) bool { return m.heads[i].before(&m.heads[j].entry) }
func (m *merger) Swap(i, j int)      { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merger) Push(x any)         { m.heads = append(m.heads, x.(*head)) }

func (m *merger) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}
