package pebblestore

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// formatMajorVersion pins the format of Pebble's files, so that an update of
// Pebble changes nothing on disk by itself. Later versions of Pebble open it
// and bring it to theirs when this constant changes; earlier ones cannot open
// it then. This one has in its log the place up to which everything was synced
// (since WALSyncChunks), which tells a damaged log from one that a crash cut
// off, and checksums in the footers of its tables (TableFormatV6).
const formatMajorVersion = pebble.FormatTableFormatV6

// pebbleOptions are Pebble's options for two cores and little memory.
func pebbleOptions(d *disk, o Options, s *scheduler) *pebble.Options {
	opts := &pebble.Options{
		FS:                 d,
		FormatMajorVersion: formatMajorVersion,
		// Pebble takes its tables in memory out of the cache: two exist as a rule.
		CacheSize:    o.CacheBytes + 2*int64(o.MemTableBytes),
		MemTableSize: uint64(o.MemTableBytes),
		// Commits wait while this many tables are in memory or in level 0: the
		// bounds of memory and of the work of a read.
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0CompactionFileThreshold:   64,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                o.MaxOpenFiles,
		// The manifest goes on with what changes until it is so long; then, if most
		// of it is changes, a new one begins.
		MaxManifestFileSize: int64(o.MemTableBytes),
		// One compaction as a rule, which leaves a core to the broker, and a
		// second one when they fall behind.
		CompactionConcurrencyRange: func() (int, int) { return 1, maxCompactions },
		Logger:                     logger{d},
	}
	opts.Experimental.FileCacheShards = 2
	opts.Experimental.CompactionScheduler = s
	opts.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) {
			if d.failure() == nil {
				o.Log.Warn("store: work in the background failed", "error", err)
			}
		},
		DataCorruption: d.dataCorruption,
	}
	for i := range opts.Levels {
		opts.Levels[i].BlockSize = 8 << 10
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	return opts
}

// logger is what Pebble logs to. It is silent but for what is fatal: after an
// error of a commit or of the list of its files Pebble expects Fatalf to end
// the process. Instead it fails the disk, so that nothing changes on it any
// more, and returns: the callers go on with the error.
type logger struct{ d *disk }

func (logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.d.log.Debug("pebble", slog.String("error", fmt.Sprintf(format, args...)))
}

func (l logger) Fatalf(format string, args ...any) {
	l.d.fail(fmt.Errorf("pebble: "+format, args...))
}

// openPebble opens a database with the options of this version, or makes it.
// Pebble begins with a sync of the directory above: so the entry of a new
// database lasts, and what was renamed there before.
func openPebble(d *disk, dir string, o Options) (*pebble.DB, *scheduler, error) {
	s := newScheduler()
	opts := pebbleOptions(d.asForPebble(), o, s)
	if p, err := pebble.Peek(dir, d); err == nil && p.Exists && p.FormatMajorVersion < formatMajorVersion {
		s.start() // the way to a later format may need some
	}
	var db *pebble.DB
	err := d.guard(func() (err error) {
		db, err = pebble.Open(dir, opts)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	s.start()
	return db, s, nil
}
