package pebblestore

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"midge/internal/store"
)

// get appends the value of a key to dst, or returns store.ErrNotFound.
func get(db *pebble.DB, dst, key []byte) ([]byte, error) {
	v, c, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, store.ErrNotFound
	}
	if err != nil {
		return dst, readError(err)
	}
	dst = append(dst, v...)
	return dst, c.Close()
}

// scan yields the keys from the first to before the second. It returns what is
// wrong with the database, broken, or the error of yield.
func scan(db *pebble.DB, from, to []byte, yield func(key, value []byte) error) (broken, err error) {
	if len(to) == 0 {
		return nil, nil
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return readError(err), nil
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return readError(err), nil
		}
		if err := yield(it.Key(), v); err != nil {
			return nil, err
		}
	}
	if err := it.Error(); err != nil {
		return readError(err), nil
	}
	return nil, nil
}

// getter gets values with one iterator. To find a key it goes on from the one before
// if that is near, and it need not look up tables and blocks again: see
// bench/results/durable.md. The whole key counts as prefix, so that nothing else is
// looked at: no deleted neighbours, for instance.
type getter struct {
	db *pebble.DB
	it *pebble.Iterator // nil: none, because something went wrong
}

func newGetter(db *pebble.DB) *getter {
	g := &getter{db: db}
	if it, err := db.NewIter(nil); err == nil {
		g.it = it
	}
	return g
}

// get appends the value of a key to dst, as the function get. What goes wrong that
// one shall find out.
func (g *getter) get(dst, key []byte) ([]byte, error) {
	if g.it == nil {
		return get(g.db, dst, key)
	}
	if g.it.SeekPrefixGE(key) {
		if v, err := g.it.ValueAndErr(); err == nil {
			return append(dst, v...), nil
		}
	} else if g.it.Error() == nil {
		return dst, store.ErrNotFound
	}
	g.close()
	return get(g.db, dst, key)
}

func (g *getter) close() {
	if g.it != nil {
		_ = g.it.Close() // its error is known
		g.it = nil
	}
}
