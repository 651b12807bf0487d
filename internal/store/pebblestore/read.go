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
