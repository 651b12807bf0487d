package pebblestore

import (
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The names in the user's directory.
const (
	lockName         = "LOCK"
	formatName       = "FORMAT"
	formatTempName   = "FORMAT.tmp"
	dbName           = "db"
	salvageName      = "db.salvage"
	quarantinePrefix = "quarantine-"
	ballastPrefix    = "ballast-"
)

// isOurName reports whether a name in the user's directory is one of the
// store's.
func isOurName(name string) bool {
	switch name {
	case dbName, salvageName, formatName, formatTempName, lockName:
		return true
	}
	return strings.HasPrefix(name, quarantinePrefix) || strings.HasPrefix(name, ballastPrefix)
}

// newQuarantine is the name of a new quarantine in the user's directory: the
// time, with a number behind it if it is taken.
func newQuarantine(fs vfs.FS, dir string, now time.Time) string {
	name := fs.PathJoin(dir, quarantinePrefix+now.UTC().Format("20060102T150405Z"))
	free := name
	for n := 2; ; n++ {
		if _, err := fs.Stat(free); err != nil {
			return free
		}
		free = name + "-" + strconv.Itoa(n)
	}
}

// The names in a directory of Pebble's.

// parseFileName is the number of a table or log, and which of both it is: "sst"
// or "log".
func parseFileName(name string) (num uint64, kind string) {
	digits, kind, _ := strings.Cut(name, ".")
	num, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, ""
	}
	return num, kind
}

// newestName is the one with the highest number of those names that begin with
// prefix, or "".
func newestName(names []string, prefix string) (found string) {
	for _, name := range names {
		if strings.HasPrefix(name, prefix) && (len(name) > len(found) || len(name) == len(found) && name > found) {
			found = name
		}
	}
	return found
}

// hasMarker reports whether one of the names is a marker of Pebble's of that
// kind.
func hasMarker(names []string, kind string) bool {
	for _, name := range names {
		if strings.HasPrefix(name, "marker."+kind+".") {
			return true
		}
	}
	return false
}
