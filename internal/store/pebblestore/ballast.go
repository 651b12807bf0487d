package pebblestore

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// On a full disk a database can't even delete: a deletion is written to the log,
// and reaches the tables by compactions, which write new ones before they remove
// old ones. So ballast files reserve some space. When the disk is full they are
// removed, one at a time, and deletions of messages go on with their space; new
// messages are refused from then on. When enough is deleted the files are made
// again, and the disk no longer counts as full.

const (
	// ballastFiles is their number. The first is reserved for a start: a start on
	// a full disk needs space, too, and may follow a crash at any moment.
	ballastFiles = 4

	// ballastShare is the fraction of the partition that they take, in bytes at
	// most maxBallast and at least minBallast, where that is no more than twice
	// the fraction. Guesses; with the maximum a table has 4 MiB.
	ballastShare = 16
	maxBallast   = ballastTables * 4 << 20
	minBallast   = 2 << 20

	// Sizes in tables in memory.
	//
	// firstTables is what a start needs on a disk without a byte left. It writes
	// all that the logs hold to new tables, then a new manifest, the log and its
	// options, and removes the old ones last. The logs hold up to three tables, a
	// commit of Backlog bytes, and a fourth table: eight in all. One more is for
	// what surrounds the records in a table of the disk, and one for the rest: the
	// manifest begins anew at that size (MaxManifestFileSize).
	//
	// otherTables is each of the other files. Together they suffice for the tables
	// that wait to be written, up to four, and for what is committed meanwhile.
	firstTables   = 10
	otherTables   = 4
	ballastTables = firstTables + (ballastFiles-1)*otherTables
	backlogTables = 4
)

// ballast is these files. Guarded by the mu of condition.
type ballast struct {
	fs      vfs.FS
	dir     string
	table   int64 // bytes; 0: there is no ballast
	present [ballastFiles]bool
}

// ballastFor is how much space to reserve on the partition of a directory: 0 if
// its size is not known.
func ballastFor(fs vfs.FS, dir string) int64 {
	usage, err := fs.GetDiskUsage(dir)
	if err != nil {
		return 0
	}
	share := int64(min(usage.TotalBytes, 1<<50)) / ballastShare
	return min(max(share, min(2*share, minBallast)), maxBallast)
}

// tableFor is the size of the tables in memory for a ballast, which may be 0.
func tableFor(ballast int64) int {
	if ballast == 0 {
		return 4 << 20
	}
	return int(min(max(ballast/ballastTables, 16<<10), 4<<20))
}

// findBallast looks which files are present.
func findBallast(fs vfs.FS, dir string, size int64) *ballast {
	b := &ballast{fs: fs, dir: dir, table: size / ballastTables}
	for i := range b.present {
		info, err := fs.Stat(b.name(i))
		if err != nil {
			continue
		}
		b.present[i] = info.Size() == b.size(i) && b.table > 0
		if !b.present[i] {
			_ = fs.Remove(b.name(i)) // of another size, or a crash came while it was made
		}
	}
	return b
}

func (b *ballast) name(i int) string { return b.fs.PathJoin(b.dir, ballastPrefix+strconv.Itoa(i+1)) }

// size is that of a file, in bytes.
func (b *ballast) size(i int) int64 {
	if i == 0 {
		return firstTables * b.table
	}
	return otherTables * b.table
}

// total is the size of all of them.
func (b *ballast) total() int64 { return ballastTables * b.table }

// release removes one of the files, the last that is present, and reports
// whether it did. It removes the first one, which is for a start, only if first
// is set.
func (b *ballast) release(first bool) bool {
	if b == nil {
		return false
	}
	for i := ballastFiles - 1; i >= 0; i-- {
		if b.present[i] && (i > 0 || first) {
			b.present[i] = false
			return b.fs.Remove(b.name(i)) == nil
		}
	}
	return false
}

// isScarce reports whether a start may lack space: some of the ballast is
// missing, or less is available than it takes, as far as that is known.
func (b *ballast) isScarce() bool {
	return b.missing() > 0 || b.available() < b.total()
}

// missing is the size of the files that are not present.
func (b *ballast) missing() (bytes int64) {
	if b == nil {
		return 0
	}
	for i, present := range b.present {
		if !present {
			bytes += b.size(i)
		}
	}
	return bytes
}

// create makes one of the files, with blocks of its own on the disk. It is
// synced: the start after a power cut needs it. Without mu: it takes long.
func (b *ballast) create(i int, stop <-chan struct{}) (err error) {
	f, err := b.fs.Create(b.name(i), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err == nil {
			err = syncDir(b.fs, b.dir)
		}
		if err != nil {
			err = errors.Join(err, b.fs.Remove(b.name(i)))
		}
	}()
	size := b.size(i)
	from := size - 1 // elsewhere Pebble's Preallocate does nothing
	if err := f.Preallocate(0, size); runtime.GOOS != "linux" || err != nil {
		if isNoSpace(err) {
			return err
		}
		from = 0
	}
	block := make([]byte, min(64<<10, size-from))
	for at := from; at < size; at += int64(len(block)) {
		for i := range block {
			block[i] = byte(rand.Uint32()) // some file systems allocate nothing for what they can compress
		}
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
		select {
		case <-stop:
			return ErrClosed
		default:
		}
	}
	return nil
}

// available is how much space is left on the partition, in bytes, -1 if that is
// not known.
func (b *ballast) available() int64 {
	usage, err := b.fs.GetDiskUsage(b.dir)
	if err != nil {
		return -1
	}
	return int64(min(usage.AvailBytes, 1<<60))
}

// syncDir makes what was created, renamed and removed in a directory last.
func syncDir(fs vfs.FS, name string) error {
	f, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
