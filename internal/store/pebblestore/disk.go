package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system that Pebble works on: the one below, except that
//
//   - while it is full, what needs room waits. Pebble never sees a full disk,
//     and goes on when there is room again;
//   - the first other error of a change fails the disk for good. The kernel
//     may have dropped what an fsync could not write, so trying again would
//     acknowledge what is not there. From then on nothing changes any more,
//     whatever Pebble's goroutines still try: what is on disk stays as the
//     next start expects it;
//   - Pebble never gets such an error, since it ends the process by a panic,
//     calls Fatalf or tries again for ever. The goroutine that would get it
//     never goes on instead. guard calls Pebble and knows about that.
type disk struct {
	vfs.FS      // reads go straight through
	hold   bool // errors of changes are not returned
	*state
}

// state is what a disk and the one for Pebble share.
type state struct {
	retry time.Duration
	log   *slog.Logger

	failed chan struct{} // closed when the disk has failed
	closed chan struct{} // closed when the store closes: nothing waits any more

	mu      sync.Mutex // also held during calls of trouble: one at a time
	trouble func(error)
	waiting int // goroutines that wait for room
	cause   error
	shut    bool
}

func newDisk(fs vfs.FS, retry time.Duration, log *slog.Logger, trouble func(error)) *disk {
	return &disk{FS: fs, state: &state{
		retry: retry, log: log, trouble: trouble,
		failed: make(chan struct{}), closed: make(chan struct{}),
	}}
}

// forPebble is the disk as Pebble gets it.
func (d *disk) forPebble() *disk { return &disk{FS: d.FS, hold: true, state: d.state} }

// guard calls Pebble. When the disk fails it returns that error, and leaves
// the call alone, which may never end.
func (d *disk) guard(call func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("pebble: %v", p)
			}
		}()
		done <- call()
	}()
	select {
	case err := <-done:
		if failure := d.failure(); failure != nil {
			return failure
		}
		return err
	case <-d.failed:
		return d.failure()
	}
}

// refuse is the answer to a change that cannot be: the error or, for Pebble,
// none ever.
func (d *disk) refuse(err error) error {
	if d.hold {
		select {}
	}
	return err
}

// fail fails the disk for good. Only the first call counts.
func (d *state) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause != nil {
		return
	}
	d.cause = err
	close(d.failed)
	if d.shut {
		return // nobody is there to care
	}
	d.log.Error("store failed: it takes no changes until the next start", "error", err)
	d.trouble(err)
}

// failure is what failed the disk, or nil.
func (d *state) failure() error {
	select {
	case <-d.failed:
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.cause
	default:
		return nil
	}
}

// close ends all waits, now and later.
func (d *state) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.shut {
		d.shut = true
		close(d.closed)
	}
}

// change does something that changes the disk, again and again while that is
// full. Other errors fail the disk.
func (d *disk) change(op, name string, do func() error) error {
	waits := false
	defer func() {
		if waits {
			d.room()
		}
	}()
	for {
		if err := d.failure(); err != nil {
			return d.refuse(err)
		}
		err := do()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s %s: %w", op, name, err)
		if isFull(err) {
			if !waits {
				waits = true
				d.noRoom(err)
			}
			if d.pause() {
				continue
			}
		}
		d.fail(err)
		return d.refuse(err)
	}
}

// sync does an fsync, once.
func (d *disk) sync(name string, do func() error) error {
	if err := d.failure(); err != nil {
		return d.refuse(err)
	}
	if err := do(); err != nil {
		err = fmt.Errorf("sync %s: %w", name, err)
		d.fail(err)
		return d.refuse(err)
	}
	return nil
}

// pause waits until it is time to try again. It reports whether to.
func (d *state) pause() bool {
	t := time.NewTimer(d.retry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-d.failed:
		return false
	case <-d.closed:
		return false
	}
}

// noRoom and room count those who wait, and tell of the first and the last.
func (d *state) noRoom(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting++
	if d.waiting == 1 && d.cause == nil && !d.shut {
		d.log.Error("disk full: the store waits for room", "error", err)
		d.trouble(err)
	}
}

func (d *state) room() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	if d.waiting == 0 && d.cause == nil && !d.shut {
		d.log.Info("disk has room again: the store goes on")
		d.trouble(nil)
	}
}

// create is change for a new file.
func (d *disk) create(op, name string, do func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := d.change(op, name, func() (err error) {
		f, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name}, nil
}

// Create makes a file. It waits for room.
//
// A marker names another file, and Pebble syncs the directory after it has made
// the marker. A power cut before may leave the marker without that file, where
// a file system keeps the entries of a directory in no order. So they are
// synced before, too.
func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(d.PathBase(name), "marker.") {
		if err := d.syncDir(d.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return d.create("create", name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

// OpenReadWrite opens a file for changes, or makes it. It waits for room.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.create("open", name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite makes a file of an old one. It waits for room.
func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create("reuse", to, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

// syncDir makes what was created, renamed and removed in a directory last.
func (d *disk) syncDir(name string) error {
	f, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// OpenDir opens a directory, for Sync.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name}, nil
}

// Link makes a second name for a file. It waits for room.
func (d *disk) Link(from, to string) error {
	return d.change("link", to, func() error { return d.FS.Link(from, to) })
}

// Rename changes the name of a file. It waits for room.
func (d *disk) Rename(from, to string) error {
	return d.change("rename", from, func() error { return d.FS.Rename(from, to) })
}

// MkdirAll makes a directory. It waits for room.
func (d *disk) MkdirAll(name string, perm os.FileMode) error {
	return d.change("make directory", name, func() error { return d.FS.MkdirAll(name, perm) })
}

// Remove removes a file. Its errors fail nothing: what could not be removed is
// only in the way.
func (d *disk) Remove(name string) error {
	if err := d.failure(); err != nil {
		return d.refuse(err)
	}
	return d.FS.Remove(name)
}

// RemoveAll removes a directory.
func (d *disk) RemoveAll(name string) error {
	if err := d.failure(); err != nil {
		return d.refuse(err)
	}
	return d.FS.RemoveAll(name)
}

// List lists a directory. For Pebble an error is one of a change: in the middle
// of opening it would leave goroutines behind that work with what was closed.
func (d *disk) List(name string) ([]string, error) {
	names, err := d.FS.List(name)
	if err != nil && d.hold && !errors.Is(err, os.ErrNotExist) {
		d.fail(fmt.Errorf("list %s: %w", name, err))
		return nil, d.refuse(err)
	}
	return names, err
}

// Lock is for Pebble, and locks nothing: the lock of the user's directory holds
// for everything in it.
func (d *disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Unwrap is the file system below.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// file is an open file of a disk.
type file struct {
	vfs.File
	d    *disk
	name string
}

// Write writes all of p. It waits for room and goes on behind what is written
// already.
func (f *file) Write(p []byte) (n int, err error) {
	err = f.d.change("write", f.name, func() error {
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
	err = f.d.change("write", f.name, func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		if err == nil && n < len(p) {
			return io.ErrShortWrite
		}
		return err
	})
	return n, err
}

// Preallocate asks for room ahead. Without it writes are only slower, so that
// no error matters.
func (f *file) Preallocate(off, length int64) error {
	_ = f.File.Preallocate(off, length)
	return nil
}

// Sync writes the file to disk.
func (f *file) Sync() error { return f.d.sync(f.name, f.File.Sync) }

// SyncData writes the file to disk, if not its times.
func (f *file) SyncData() error { return f.d.sync(f.name, f.File.SyncData) }

// SyncTo writes the file to disk up to a length.
func (f *file) SyncTo(length int64) (full bool, err error) {
	err = f.d.sync(f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// isFull says that an error means that there is no room.
func isFull(err error) bool {
	for _, errno := range noRoom {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
