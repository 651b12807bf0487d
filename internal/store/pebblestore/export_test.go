package pebblestore

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Quick makes waits short that a test does not want to sit out.
func Quick(o Options) Options {
	o.Retry = time.Millisecond
	return o
}

// At gives a store a time of day.
func At(o Options, now time.Time) Options {
	o.now = func() time.Time { return now }
	return o
}

// Migrating gives a store formats beyond the first: a step to each.
func Migrating(o Options, steps ...func(fs vfs.FS, dir string) error) Options {
	o.migrations = []migration{}
	for _, step := range steps {
		o.migrations = append(o.migrations, step)
	}
	return o
}

// Ballast gives a store a ballast of some bytes.
func Ballast(o Options, bytes int64) Options {
	o.ballast = bytes
	return o
}
