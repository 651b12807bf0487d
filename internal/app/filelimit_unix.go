//go:build unix

package app

import "syscall"

// fileLimit is the number of files that the process may have open; ok is false
// if the system doesn't tell. Go's os package raises the soft limit to the
// hard one when the process starts.
func fileLimit() (n uint64, ok bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return uint64(limit.Cur), true
}
