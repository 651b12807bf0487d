package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

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
		return dst, readFault(err)
	}
	dst = append(dst, v...)
	return dst, c.Close()
}

// scan yields the keys from the first to before the second. It returns what is
// wrong with the database, or the error of yield.
func scan(db *pebble.DB, from, to []byte, yield func(key, value []byte) error) (fault, err error) {
	if len(to) == 0 {
		return nil, nil
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return readFault(err), nil
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return readFault(err), nil
		}
		if err := yield(it.Key(), v); err != nil {
			return nil, err
		}
	}
	if err := it.Error(); err != nil {
		return readFault(err), nil
	}
	return nil, nil
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// readFault marks errors that prove damage with ErrCorrupt: checksums that do not
// match, blocks that make no sense, files that are missing. Others say nothing
// about what is on disk.
func readFault(err error) error {
	if errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if !pebble.IsCorruptionError(err) || refused(err) {
		return err
	}
	return corrupt(err)
}

// corrupt makes ErrCorrupt of an error. Pebble's words are in its first line;
// what follows is for its own tools.
func corrupt(err error) error {
	words, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%w: %s", ErrCorrupt, words)
}

// refused says that the operating system gave an error that says nothing about
// what is on disk, whatever it was wrapped in since.
func refused(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, ErrClosed) || errors.Is(err, fs.ErrClosed) || errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist)
}
