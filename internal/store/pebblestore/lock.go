package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The file LOCK in the user's directory is locked. It says who has the directory,
// and keeps earlier versions out. The directory is locked as well: a file can be
// removed, and the next process would lock another one.

// locks are locks that go together.
type locks []io.Closer

// Close ends them.
func (l locks) Close() (err error) {
	for _, c := range l {
		err = errors.Join(err, c.Close())
	}
	return err
}

// lock takes the directory for this process, or says in plain words who has
// it. The operating system drops the locks of a process that ends in any way.
func lock(fs vfs.FS, dir string) (io.Closer, error) {
	file, err := lockFile(fs, fs.PathJoin(dir, lockName))
	if err != nil || !isOS(fs) {
		return file, err
	}
	whole, err := lockDir(dir, true)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return locks{whole, file}, nil
}

func lockFile(fs vfs.FS, name string) (io.Closer, error) {
	l, err := fs.Lock(name)
	if err == nil {
		return l, nil
	}
	if !isHeld(err) {
		return nil, err
	}
	if isHeldHere(err) {
		return nil, fmt.Errorf("%w: this process uses it already, with the id %d", ErrInUse, os.Getpid())
	}
	return nil, inUse(name)
}

// share takes the directory for reading, together with others that do. It changes
// nothing in it.
func share(fs vfs.FS, dir string) (io.Closer, error) {
	name := fs.PathJoin(dir, lockName)
	if !isOS(fs) {
		return lockFile(fs, name)
	}
	file, err := shareFile(fs, name)
	if err != nil {
		if isHeld(err) {
			err = inUse(name)
		}
		return nil, err
	}
	whole, err := lockDir(dir, false)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return locks{whole, file}, nil
}

// inUse is the error that says who holds the lock.
func inUse(name string) error {
	if pid := holder(name); pid > 0 {
		return fmt.Errorf("%w: another process uses it, with the id %d; stop that one, or use another directory", ErrInUse, pid)
	}
	return fmt.Errorf("%w: another process uses it; stop that one, or use another directory", ErrInUse)
}
