package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system that Pebble works on: the one below, except that
//
//   - when it is full, ballast is released, file by file; after that, what needs
//     space waits, and goes on when there is some. Only compactions get the
//     error: they could wait for ever, with the space that they have taken, and
//     start over later;
//   - while no file can be opened, or the system is short of something else that
//     comes back, what needs it waits likewise (shortage);
//   - a read that fails otherwise is tried again a few times; if it was a
//     compaction's, the disk has failed then (failUnreadable);
//   - the first other error of a change fails the disk for good. The kernel
//     may have dropped what an fsync could not write, so trying again would
//     acknowledge what is not there. From then on nothing changes any more,
//     whatever Pebble's goroutines still try: what is on disk stays as the
//     next start expects it;
//   - Pebble never gets such an error, since it ends the process by a panic,
//     calls Fatalf or tries again for ever. The goroutine that would get it
//     never goes on instead. guard calls Pebble and knows about that;
//   - logs of Pebble's are written in a way of their own (logFile).
type disk struct {
	vfs.FS
	forPebble bool // errors of changes are not returned
	direct    *directWriter
	*condition
}

func newDisk(fs vfs.FS, retry time.Duration, log *slog.Logger, report func(error)) *disk {
	d := &disk{FS: fs, condition: newCondition(retry, log, report)}
	if isOS(fs) { // tests give others, which want to see what is written
		d.direct = &directWriter{}
	}
	return d
}

// asForPebble is the disk as Pebble gets it.
func (d *disk) asForPebble() *disk {
	return &disk{FS: d.FS, forPebble: true, direct: d.direct, condition: d.condition}
}

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
	if d.forPebble {
		select {}
	}
	return err
}

// change does something that changes the disk, again and again while what it
// needs is short. Other errors fail the disk.
func (d *disk) change(op, name string, do func() error) error {
	waits := false
	defer func() {
		if waits {
			d.endWait()
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
		if s := shortageOf(err); s != noShortage {
			if s == noSpace && d.releaseBallast(err) {
				continue
			}
			if !waits {
				waits = true
				d.beginWait(s, err)
			}
			if d.sleep(d.retry) {
				continue
			}
		}
		d.fail(err)
		return d.refuse(err)
	}
}

// changeForCompaction is change for the output of a compaction, which gets the
// error of a full disk.
func (d *disk) changeForCompaction(op, name string, do func() error) error {
	var full error
	err := d.change(op, name, func() error {
		err := do()
		if isNoSpace(err) {
			full = fmt.Errorf("%s %s: %w", op, name, err)
			return nil
		}
		return err
	})
	if err != nil || full == nil {
		return err
	}
	d.compactionStarved(full)
	return full
}

// readTries is how often a read is tried whose error may pass: for four seconds
// in all. Guess.
const readTries = 5

// read does something that changes nothing, again and again while what it needs
// is short, and some times after another error that may pass.
func (d *disk) read(op, name string, do func() error) error {
	waits := false
	defer func() {
		if waits {
			d.endWait()
		}
	}()
	pause := d.retry
	for tries := 1; ; {
		err := do()
		if err == nil || isPermanent(err) {
			return err
		}
		if s := shortageOf(err); s != noShortage {
			if !waits {
				waits = true
				d.beginWait(s, fmt.Errorf("%s %s: %w", op, name, err))
			}
			if !d.sleep(d.retry) {
				return err
			}
			continue
		}
		if tries == readTries || !d.sleep(pause) {
			return err
		}
		tries++
		pause *= 2
	}
}

// sync does an fsync, once: after an error nobody knows what the next one
// vouches for. One that was interrupted has dropped nothing.
func (d *disk) sync(name string, do func() error) error {
	if err := d.failure(); err != nil {
		return d.refuse(err)
	}
	err := do()
	for tries := 1; errors.Is(err, syscall.EINTR) && tries < readTries; tries++ {
		err = do()
	}
	if err != nil {
		err = fmt.Errorf("sync %s: %w", name, err)
		d.fail(err)
		return d.refuse(err)
	}
	return nil
}

// failUnreadable fails the disk because a compaction can't read a table. It does
// not return.
//
// A compaction that meets an error of a read may panic, where it looks for the
// value that a deletion removes (SingleDelete in Pebble's internal/compact), and
// so end the process; or it begins again for ever, while level 0 fills up. So its
// goroutine goes no further.
func (d *disk) failUnreadable(err error) {
	d.fail(err)
	select {}
}

// dataCorruption is called by Pebble when it has found damage in a file.
func (d *disk) dataCorruption(info pebble.DataCorruptionInfo) {
	d.log.Error("store: damaged file", "file", info.Path, "error", info.Details)
	if d.forPebble && inCompaction() {
		d.failUnreadable(fmt.Errorf("compact %s: %w", info.Path, corrupt(info.Details)))
	}
}

// create makes a file by change or changeForCompaction.
func (d *disk) create(change func(op, name string, do func() error) error, op, name string, do func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := change(op, name, func() (err error) {
		f, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name}, nil
}

// compactionOutput is how Pebble marks the tables that compactions write.
const compactionOutput = "pebble-compaction"

// Create makes a file. It waits for space.
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
	change := d.change
	if c == compactionOutput {
		change = d.changeForCompaction
	}
	f, err := d.create(change, "create", name, func() (vfs.File, error) {
		f, err := d.FS.Create(name, c)
		if err != nil || c != logCategory {
			return f, err
		}
		return newLogFile(f, 0, d.direct), nil
	})
	if err == nil && c == compactionOutput {
		f.(*file).compactionOutput = true
	}
	return f, err
}

// OpenReadWrite opens a file for changes, or makes it. It waits for space.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.create(d.change, "open", name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite makes a file of an old one. It waits for space.
func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	info, err := d.Stat(from)
	if err != nil {
		return nil, err
	}
	return d.create(d.change, "reuse", to, func() (vfs.File, error) {
		f, err := d.FS.ReuseForWrite(from, to, c)
		if err != nil || c != logCategory {
			return f, err
		}
		return newLogFile(f, info.Size(), d.direct), nil
	})
}

// syncDir makes what was created, renamed and removed in a directory last.
func (d *disk) syncDir(name string) error { return syncDir(d, name) }

// OpenDir opens a directory, for Sync.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	return d.openForRead("open directory", name, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

// Open opens a file for reading.
func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.openForRead("open", name, func() (vfs.File, error) { return d.FS.Open(name, opts...) })
}

// openForRead is read for a file that exists.
func (d *disk) openForRead(op, name string, do func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := d.read(op, name, func() (err error) {
		f, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name}, nil
}

// Stat describes a file.
func (d *disk) Stat(name string) (info vfs.FileInfo, err error) {
	err = d.read("stat", name, func() (err error) {
		info, err = d.FS.Stat(name)
		return err
	})
	return info, err
}

// Link makes a second name for a file. It waits for space.
func (d *disk) Link(from, to string) error {
	return d.change("link", to, func() error { return d.FS.Link(from, to) })
}

// Rename changes the name of a file. It waits for space.
func (d *disk) Rename(from, to string) error {
	return d.change("rename", from, func() error { return d.FS.Rename(from, to) })
}

// MkdirAll makes a directory. It waits for space.
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
	return d.read("remove", name, func() error { return d.FS.RemoveAll(name) })
}

// List lists a directory. For Pebble an error is one of a change: in the middle
// of opening it would leave goroutines behind that work with what was closed.
func (d *disk) List(name string) ([]string, error) {
	var names []string
	err := d.read("list", name, func() (err error) {
		names, err = d.FS.List(name)
		return err
	})
	if err != nil && d.forPebble && !errors.Is(err, os.ErrNotExist) {
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
