package pebblestore

import (
	"errors"
	"io"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// isHeld reports whether an error of Lock means that the lock is taken:
// ERROR_SHARING_VIOLATION or ERROR_LOCK_VIOLATION.
func isHeld(err error) bool {
	return errors.Is(err, syscall.Errno(32)) || errors.Is(err, syscall.Errno(33)) || isHeldHere(err)
}

// isHeldHere reports whether this process holds the lock.
func isHeldHere(err error) bool { return strings.Contains(err.Error(), "held by current process") }

// holder is the process that holds the lock on a file: Windows does not say.
func holder(string) int { return 0 }

// shareFile takes the lock on a file, as a broker does: two views at a time
// are not possible here.
func shareFile(fs vfs.FS, name string) (io.Closer, error) { return fs.Lock(name) }

// lockDir locks nothing: a file that is open cannot be removed here.
func lockDir(string, bool) (io.Closer, error) { return io.NopCloser(nil), nil }
