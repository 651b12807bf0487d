package pebblestore

import (
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lock takes the lock file for this process, or says in plain words who has
// it. The operating system drops the lock of a process that ends in any way.
func lock(fs vfs.FS, name string) (io.Closer, error) {
	l, err := fs.Lock(name)
	if err == nil {
		return l, nil
	}
	if !held(err) {
		return nil, err
	}
	if heldHere(err) {
		return nil, fmt.Errorf("%w: this process uses it already, with the id %d", ErrInUse, os.Getpid())
	}
	return nil, inUse(name)
}

// share takes the lock for reading: with others that do, and without a change
// of the file.
func share(fs vfs.FS, name string) (io.Closer, error) {
	if fs != vfs.Default {
		return lock(fs, name)
	}
	return shareFile(name)
}

// inUse says who holds the lock.
func inUse(name string) error {
	if pid := holder(name); pid > 0 {
		return fmt.Errorf("%w: another process uses it, with the id %d; stop that one, or use another directory", ErrInUse, pid)
	}
	return fmt.Errorf("%w: another process uses it; stop that one, or use another directory", ErrInUse)
}
