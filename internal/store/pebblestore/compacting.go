package pebblestore

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// A compaction that comes upon an error of a read may panic, where it looks for
// the value that a deletion removes (SingleDelete in Pebble's internal/compact), and so
// end the process; or it begins again for ever, while level 0 fills up. So its
// goroutine goes no further, and the disk has failed.

// compacting tells whether a compaction of Pebble's reads the blocks of a table on this
// goroutine. While it opens one it must not stop: others wait for the same table,
// and get the error. It walks the stack: it is for errors only.
func compacting() (is bool) {
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

// unreadable fails the disk because a compaction can't read a table. It does not return.
func (d *disk) unreadable(err error) {
	d.fail(err)
	select {}
}

// damaged takes note of damage that Pebble has found in a file.
func (d *disk) damaged(info pebble.DataCorruptionInfo) {
	d.log.Error("store: damaged file", "file", info.Path, "error", info.Details)
	if d.hold && compacting() {
		d.unreadable(fmt.Errorf("compact %s: %w", info.Path, corrupt(info.Details)))
	}
}
