package store

import "errors"

// Backend is a store of ordered keys that survives a crash: Pebble in package
// pebblestore, memory in memstore. Keys and values are bytes; keys are ordered
// bytewise. storetest has the suite that each passes.
type Backend interface {
	// Commit applies the changes of all lists in their order, all of them or
	// none. With sync it returns when they and everything committed before
	// are on disk, and nil means exactly that. Without, a crash may undo the
	// last of them. Lists may be empty: then Commit with sync makes sure of
	// earlier ones. One goroutine calls it at a time.
	//
	// While the disk is full it waits until there is room. After any other
	// error nothing can be committed any more: all further calls fail.
	Commit(sync bool, lists ...*Changes) error

	// Get appends the value of a key to dst. It returns ErrNotFound if there is
	// none, and an error that wraps ErrDamaged if it is proven that the value
	// cannot be read any more. Other errors say nothing about what is there, and
	// it has been tried more than once then. Safe for use by several goroutines,
	// also during Commit.
	Get(dst, key []byte) ([]byte, error)

	// Scan calls yield for the keys from the first to before the second, in
	// order, until yield returns an error, which Scan returns. key and value
	// are borrowed. Its other errors are those of Get. Safe for use by several
	// goroutines, also during Commit.
	Scan(from, to []byte, yield func(key, value []byte) error) error

	// Quarantine makes a copy of records that nobody can read and that are about
	// to be removed, for a person to look at. nil means that the copy survives
	// what committed changes survive. Safe for use by several goroutines, also
	// during Commit. While the disk is full it waits.
	Quarantine(records []Damaged) error

	// Close ends the use of the store. It waits for no disk that is full.
	Close() error
}

// Series is a Backend that gets many values for less than each alone. Getter begins
// that; what is committed by then is there.
type Series interface {
	Getter() Getter
}

// Getter gets values as Backend.Get does, best those of ascending keys. It is for one
// goroutine, and for a short time: until Close the Backend keeps what it may ask for.
type Getter interface {
	Get(dst, key []byte) ([]byte, error)
	Close()
}

// ErrNotFound is returned by Backend.Get for a key that has no value.
var ErrNotFound = errors.New("not found")

// ErrDamaged is wrapped by errors that prove that something is lost: it is not
// what was written, or is missing. Nothing is given up for any other error.
var ErrDamaged = errors.New("damaged")
