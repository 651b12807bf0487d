package pebblestore

import (
	"io/fs"

	"errors"
	"github.com/cockroachdb/pebble/v2"
)

func openOrSalvage(d *disk, dir string, o Options, report *Report) (*pebble.DB, error) {
	return openPebble(d, d.PathJoin(dir, "db"), o)
}

// damaged says that an error of reading means that data is damaged or missing,
// rather than that the operating system refuses for another reason.
func damaged(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist)
}
