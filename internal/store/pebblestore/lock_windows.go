package pebblestore

import (
	"errors"
	"strings"
	"syscall"
)

// held says that an error of Lock means that the lock is taken:
// ERROR_SHARING_VIOLATION or ERROR_LOCK_VIOLATION.
func held(err error) bool {
	return errors.Is(err, syscall.Errno(32)) || errors.Is(err, syscall.Errno(33)) || heldHere(err)
}

// heldHere says that this process holds the lock.
func heldHere(err error) bool { return strings.Contains(err.Error(), "held by current process") }

// holder is the process that holds the lock on a file: Windows does not say.
func holder(string) int { return 0 }
