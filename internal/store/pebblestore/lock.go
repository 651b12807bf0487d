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
	if pid := holder(name); pid > 0 {
		return nil, fmt.Errorf("%w: another process uses it, with the id %d; stop that one, or use another directory", ErrInUse, pid)
	}
	return nil, fmt.Errorf("%w: another process uses it; stop that one, or use another directory", ErrInUse)
}
