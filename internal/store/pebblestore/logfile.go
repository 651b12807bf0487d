package pebblestore

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A sync costs least where it changes nothing but data: no length of the file, no
// block that was never written. So a log of Pebble's is overwritten rather than
// appended to. It is filled with zeros ahead of its records, a good piece at a
// time, and Pebble uses the files of old logs again. Its readers take zeros, and
// the records of an older log, for the end.
//
// What Pebble writes is collected until it wants it on disk. Then whole blocks are
// written: the last one, which is seldom full, again with the next records. So the
// file can be open for direct input and output, where a write and its sync are one
// operation, which needs no thread that waits for it (directWriter).

// logCategory is how Pebble marks its logs.
const logCategory = "pebble-wal"

const (
	// logAlign is what the offset, the length and the memory of a direct write are
	// multiples of. Disks want 512 bytes or 4 KiB.
	logAlign = 4 << 10

	// A log is filled with zeros up to twice its length, in pieces of minFill to
	// maxFill bytes. Measured: bench/results/durable.md.
	minFill = 16 << 10
	maxFill = 256 << 10

	// maxUnwritten is how many bytes are collected before they are written, synced
	// or not.
	maxUnwritten = 512 << 10
)

// zeros are written where a log is filled. A broker in memory has none.
var zeros = sync.OnceValue(func() []byte { return aligned(maxFill) })

// logFile is a log that Pebble writes. Like any file of Pebble's it belongs to one
// goroutine at a time.
type logFile struct {
	vfs.File
	direct *directWriter // nil: the file isn't open for direct input and output

	buf      []byte // the bytes from start on, in whole blocks; behind used there are zeros
	start    int64  // offset of buf in the file, a multiple of logAlign
	used     int    // bytes of buf that hold records
	dirty    bool   // some of them were not written
	unsynced bool   // something was written and may not be on disk
	filled   int64  // up to here the file has blocks that were written once
}

// newLogFile returns a log that is written over a file of size bytes: directly, if w
// isn't nil and can.
func newLogFile(f vfs.File, size int64, w *directWriter) *logFile {
	l := &logFile{File: f, buf: aligned(minFill), unsynced: true, filled: size &^ (logAlign - 1)}
	if w != nil && w.open(f) {
		l.direct = w
	}
	return l
}

// aligned returns memory for direct writes.
func aligned(size int) []byte {
	b := make([]byte, size+logAlign)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (logAlign - 1)
	return b[skip : skip+size : skip+size]
}

// Write adds to the log. After an error nothing was added.
func (l *logFile) Write(p []byte) (int, error) {
	if l.used > 0 && l.used+len(p) > maxUnwritten {
		if err := l.flush(false); err != nil {
			return 0, err
		}
	}
	if err := l.fill(l.start + int64(l.used+len(p))); err != nil {
		return 0, err
	}
	l.grow(l.used + len(p))
	l.used += copy(l.buf[l.used:], p)
	l.dirty = true
	return len(p), nil
}

// fill writes zeros up to the end at least. So a full disk is noticed before
// anything is added.
func (l *logFile) fill(end int64) error {
	for l.filled < end {
		n := min(max(l.filled, minFill), maxFill)
		if err := l.writeAt(zeros()[:n], l.filled); err != nil {
			return err
		}
		l.filled += n
	}
	return nil
}

// grow makes room in buf.
func (l *logFile) grow(size int) {
	if size > len(l.buf) {
		larger := aligned(max(2*len(l.buf), roundUp(size)))
		copy(larger, l.buf[:l.used])
		l.buf = larger
	}
}

func roundUp(size int) int { return (size + logAlign - 1) &^ (logAlign - 1) }

// flush writes what was collected. With sync that may be on disk as well when it
// returns; unsynced says so. What it could not write it will write again.
func (l *logFile) flush(sync bool) error {
	if !l.dirty {
		return nil
	}
	end := roundUp(l.used)
	if err := l.writeBlocks(l.buf[:end], sync); err != nil {
		return err
	}
	whole := l.used &^ (logAlign - 1) // what these have is done with
	copy(l.buf, l.buf[whole:end])
	clear(l.buf[end-whole : end])
	l.start, l.used, l.dirty = l.start+int64(whole), l.used-whole, false
	return nil
}

// writeBlocks writes the blocks at start. A sync of a write concerns nothing but what
// is written; so there is one only if all before is on disk.
func (l *logFile) writeBlocks(b []byte, sync bool) error {
	if sync && !l.unsynced && l.direct != nil {
		if taken, err := l.direct.write(l.File, b, l.start); taken {
			return err
		}
	}
	return l.writeAt(b, l.start)
}

// writeAt writes as a file does that is open for direct input and output, unless the
// file system can't after all.
func (l *logFile) writeAt(b []byte, at int64) error {
	l.unsynced = true
	n, err := l.File.WriteAt(b, at)
	if l.direct != nil && errors.Is(err, syscall.EINVAL) {
		l.direct.giveUp(l.File)
		l.direct = nil
		n, err = l.File.WriteAt(b, at)
	}
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// SyncData has the log on disk when it returns.
func (l *logFile) SyncData() error {
	if err := l.flush(true); err != nil || !l.unsynced {
		return err
	}
	if err := l.File.SyncData(); err != nil {
		return err
	}
	l.unsynced = false
	return nil
}

// Sync is SyncData: Pebble needs nothing else of a log.
func (l *logFile) Sync() error { return l.SyncData() }

// SyncTo is SyncData for all of the log.
func (l *logFile) SyncTo(int64) (full bool, err error) { return true, l.SyncData() }

// Close writes what was collected, and closes the file.
func (l *logFile) Close() error { return errors.Join(l.flush(false), l.File.Close()) }
