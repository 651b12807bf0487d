package pebblestore

import (
	"runtime"
	"strings"
)

// inCompaction reports whether a compaction of Pebble's reads the blocks of a
// table on this goroutine. While it opens one it must not stop: others wait for
// the same table, and get the error. It walks the stack: it is for errors only.
func inCompaction() bool {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		switch {
		case strings.Contains(f.Function, "pebble/v2/internal/genericcache."): // opens a table
			return false
		case strings.Contains(f.Function, "pebble/v2/internal/compact.(*Iter)."):
			return true
		case !more:
			return false
		}
	}
}
