package pebblestore

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// removeLeftovers removes the files of a database that hold nothing any more. A
// crash leaves tables that a flush or a compaction was writing and what a start
// had begun anew, and may bring back what was removed shortly before. Pebble
// removes them at the end of its start, which it does not reach on a full disk: it writes
// the logs to tables first, and waits for the space.
//
// It removes nothing when the manifest can't be trusted.
func removeLeftovers(fs vfs.FS, path string) {
	names, err := fs.List(path)
	if err != nil {
		return
	}
	m, err := readManifest(fs, path, names)
	if err != nil {
		return
	}
	options := newestName(names, "OPTIONS-")
	for _, name := range names {
		num, kind := parseFileName(name)
		switch {
		case kind == "sst" && !m.has(num), kind == "log" && num > 0 && num < m.minLog,
			strings.HasSuffix(name, ".dbtmp"),
			strings.HasPrefix(name, "MANIFEST-") && name != m.file,
			strings.HasPrefix(name, "OPTIONS-") && name != options:
			_ = fs.Remove(fs.PathJoin(path, name)) // Pebble tries again
		}
	}
}
