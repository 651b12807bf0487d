//go:build unix

package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// isHeld reports whether an error of Lock or shareFile means that the lock is
// taken, and not that the file cannot be made.
func isHeld(err error) bool {
	var path *fs.PathError
	if errors.As(err, &path) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || isHeldHere(err)
}

// isHeldHere reports whether this process holds the lock. Pebble has no value for
// the error.
func isHeldHere(err error) bool { return strings.Contains(err.Error(), "held by current process") }

// holder is the process that holds the lock on a file, or 0 if the kernel does
// not say. Not for a file that this process locked: to close any descriptor of
// it would end the lock.
func holder(name string) int {
	f, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	spec := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &spec); err != nil || spec.Type == syscall.F_UNLCK {
		return 0
	}
	return int(spec.Pid)
}

// shareFile takes the lock on a file for reading. A file that is not there
// belongs to a directory that no process uses.
func shareFile(_ vfs.FS, name string) (io.Closer, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, err
	}
	spec := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &spec); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockDir locks a directory, alone or for reading. A file system that locks no
// directories, as some network file systems, is left with the lock on the file.
func lockDir(dir string, alone bool) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); {
	case err == syscall.EWOULDBLOCK:
		return nil, errors.Join(fmt.Errorf("%w: a process uses it, although its file %s is gone or new; stop that one, or use another directory", ErrInUse, lockName), f.Close())
	case err != nil:
		return io.NopCloser(nil), f.Close()
	}
	return f, nil
}
