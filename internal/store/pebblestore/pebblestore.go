// Package pebblestore keeps the store of ordered keys on disk, in Pebble, an
// embedded log-structured merge tree. It adds what a broker needs around it:
// a start that always succeeds, waiting while the disk is full, failures that end
// no process, and formats that later versions can read.
//
// The user's directory holds:
//
//	FORMAT              the number of the format, see format.go
//	LOCK                locked while a process uses the directory, as is the
//	                    directory itself
//	ballast-<n>         space that is released when the disk is full, see ballast.go
//	db/                 Pebble's database
//	quarantine-<time>/  a database that was damaged, as it was found, or a copy
//	                    of records that were
//
// Files, from the bottom up:
//
//   - what all use: errors_unix.go, errors_windows.go, errors.go, names.go,
//     private.go (files for their owner only), lock_unix.go, lock_windows.go,
//     lock.go;
//   - the disk below Pebble: ballast.go, condition.go (healthy, full, failed),
//     stack.go, direct_linux.go, direct_other.go, logfile.go (logs that are
//     overwritten), disk.go, file.go;
//   - Pebble: scheduler.go (when it compacts), pebble.go (its options),
//     compactor.go and reclaimer.go (space on a full disk), read.go;
//   - reading its files without it: wal.go, manifest.go, leftovers.go,
//     history.go (of the logs), table.go, merge.go, salvage.go;
//   - what others use: format.go, store.go, quarantine.go, stats.go,
//     pebblestore.go (Open), view.go, check.go.
package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// How many files are open at a time: the minimum and the maximum of tables (Pebble
// takes no smaller cache of them), and besides these logs, tables that are written,
// directories and locks.
const (
	MinOpenFiles = 64 + 10
	MaxOpenFiles = 256
	OtherFiles   = 32
)

// Options say how Open opens a directory. The zero value is fit for use.
type Options struct {
	// FS is where the directory is; nil is the operating system's. Tests give
	// others.
	FS vfs.FS
	// Log gets what an operator should know; nil is nowhere.
	Log *slog.Logger
	// Trouble is called with an error when the disk is full or the store has
	// failed for good, and with nil when a full disk has space again. It is
	// called from any goroutine, one call at a time; it returns quickly and
	// does not call the store.
	Trouble func(err error)
	// CacheBytes bounds the cache of blocks read from disk; 0 is 8 MiB.
	CacheBytes int64
	// MemTableBytes is the size of the tables in memory that collect changes
	// before they go to a file; 0 is 4 MiB, or less on a partition of less than
	// 1 GiB. Up to four exist at a time, while the disk is slower than the
	// writes.
	MemTableBytes int
	// MaxOpenFiles is how many tables are open at a time, MinOpenFiles to
	// MaxOpenFiles; 0 is MaxOpenFiles. OtherFiles come on top.
	MaxOpenFiles int
	// Retry is the time between tries while the disk is full or something else
	// is short, and before a read that failed is tried again; 0 is 250 ms.
	Retry time.Duration
	// Stop, once closed, ends all waits for space, also those of Open: for a
	// process that is told to end. nil never does. Close does so anyway.
	Stop <-chan struct{}
	// Salvage says that the database is known to be damaged, because Scan or
	// Get returned ErrCorrupt. Open then salvages it even if Pebble would
	// open it.
	Salvage bool

	now        func() time.Time // nil is time.Now
	migrations []migration      // nil are those of this version
	ballast    int64            // bytes; 0 is a share of the partition
}

// Report says what Open found and did, apart from opening.
type Report struct {
	// MigratedFrom is the format that the directory had, if Open brought it to
	// the one of this version; else 0.
	MigratedFrom int
	// Quarantine is the directory that holds the damaged database as it was
	// found, if there was one; else "".
	Quarantine string
	// Damage lists what was damaged.
	Damage []Damage
	// Records is the number of records that were copied out of the damaged
	// database.
	Records int64
	// LostBytes estimates how many bytes of the damaged database could not be
	// read.
	LostBytes int64
}

// Damage is a file that could not be read in full.
type Damage struct {
	File   string // its name in the database, or "" for the database as a whole
	Reason string
	Lost   int64 // an estimate of the bytes that could not be read; 0 is none
}

// Open opens the store in the directory dir, which it makes if it is missing.
// A damaged database is salvaged rather than refused: Report says so. An error
// means that the directory is in use, was written by a newer version, or that
// the operating system refuses something.
func Open(dir string, o Options) (*Store, Report, error) {
	s, report, err := open(dir, o)
	if err != nil {
		return nil, report, fmt.Errorf("open the store in %s: %w", dir, err)
	}
	return s, report, nil
}

func open(dir string, o Options) (_ *Store, report Report, err error) {
	o = o.withDefaults()
	d := newDisk(o.FS, o.Retry, o.Log, o.Trouble)
	defer func() {
		if err != nil {
			d.close()
			d.fail(ErrClosed) // whatever is left of Pebble changes nothing any more
		}
	}()
	go func() {
		select {
		case <-o.Stop:
			d.close()
		case <-d.closed:
		}
	}()
	if err := makeDir(d, dir); err != nil {
		return nil, report, err
	}
	var unlock io.Closer
	err = d.read("lock", dir, func() (err error) {
		unlock, err = lock(o.FS, dir)
		return err
	})
	if err != nil {
		return nil, report, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlock.Close())
		}
	}()
	if isOS(o.FS) {
		if err := restrictAll(dir); err != nil {
			o.Log.Warn("store: others than its owner may read some of its files", "directory", dir, "error", err)
		}
	}
	if o.ballast == 0 {
		o.ballast = ballastFor(d.FS, dir)
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = tableFor(o.ballast)
	}
	d.ballast = findBallast(d.FS, dir, o.ballast)
	if report.MigratedFrom, err = migrate(d, dir, o.migrations); err != nil {
		return nil, report, err
	}
	if report.MigratedFrom != 0 {
		o.Log.Info("store migrated", "directory", dir, "from", report.MigratedFrom, "to", latest(o.migrations))
	}
	db, scheduler, err := openOrSalvage(d, dir, o, &report)
	if err != nil {
		return nil, report, err
	}
	d.opened()
	return newStore(dir, db, scheduler, d, unlock, o), report, nil
}

// makeDir makes the directory if it is missing, so that it is still there after
// a power cut.
func makeDir(d *disk, dir string) error {
	if _, err := d.Stat(dir); err == nil {
		return nil
	}
	if err := d.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return d.syncDir(d.PathDir(dir))
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.FS == vfs.Default {
		o.FS = private{o.FS}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Trouble == nil {
		o.Trouble = func(error) {}
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 8 << 20
	}
	if o.MaxOpenFiles <= 0 {
		o.MaxOpenFiles = MaxOpenFiles
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.migrations == nil {
		o.migrations = migrations()
	}
	if o.Retry <= 0 {
		o.Retry = 250 * time.Millisecond
	}
	return o
}
