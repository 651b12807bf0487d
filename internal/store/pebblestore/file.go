package pebblestore

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is an open file of a disk.
type file struct {
	vfs.File
	d                *disk
	name             string
	compactionOutput bool
}

// change is that of the disk, as it is for this file.
func (f *file) change(op string, do func() error) error {
	if f.compactionOutput {
		return f.d.changeForCompaction(op, f.name, do)
	}
	return f.d.change(op, f.name, do)
}

// Write writes all of p. It waits for space and goes on behind what is written
// already.
func (f *file) Write(p []byte) (n int, err error) {
	err = f.change("write", func() error {
		m, err := f.File.Write(p[n:])
		n += m
		if err == nil && n < len(p) {
			return io.ErrShortWrite
		}
		return err
	})
	return n, err
}

// WriteAt is Write at a place.
func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.change("write", func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		if err == nil && n < len(p) {
			return io.ErrShortWrite
		}
		return err
	})
	return n, err
}

// Preallocate asks for space ahead. Without it writes are only slower, so that
// no error matters.
func (f *file) Preallocate(off, length int64) error {
	_ = f.File.Preallocate(off, length)
	return nil
}

// sync is that of the disk. Some file systems find out here that there is no
// space; a compaction loses nothing by that.
func (f *file) sync(do func() error) error {
	if l, ok := f.File.(*logFile); ok { // has still to write, and waits for space
		if err := f.change("write", func() error { return l.flush(true) }); err != nil {
			return err
		}
	}
	var full error
	err := f.d.sync(f.name, func() error {
		err := do()
		if f.compactionOutput && isNoSpace(err) {
			full = fmt.Errorf("sync %s: %w", f.name, err)
			return nil
		}
		return err
	})
	if err != nil || full == nil {
		return err
	}
	f.d.compactionStarved(full)
	return full
}

// Sync writes the file to disk.
func (f *file) Sync() error { return f.sync(f.File.Sync) }

// SyncData writes the file to disk, if not its times.
func (f *file) SyncData() error { return f.sync(f.File.SyncData) }

// SyncTo writes the file to disk up to a length.
func (f *file) SyncTo(length int64) (full bool, err error) {
	err = f.sync(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Read reads on.
func (f *file) Read(p []byte) (n int, err error) {
	err = f.d.read("read", f.name, func() (err error) {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

// ReadAt reads at a place.
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.d.read("read", f.name, func() (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	if err != nil && !isPermanent(err) && f.d.forPebble && inCompaction() {
		f.d.failUnreadable(fmt.Errorf("read %s: %w", f.name, err))
	}
	return n, err
}

// Stat describes the file.
func (f *file) Stat() (info vfs.FileInfo, err error) {
	err = f.d.read("stat", f.name, func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}
