//go:build !unix

package app

// fileLimit reports that this system has no limit of open files.
func fileLimit() (n uint64, ok bool) { return 0, false }
