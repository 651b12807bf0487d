package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system that Pebble works on: the one below, except that
//
//   - when it is full the ballast is given up, piece by piece; after that, what
//     needs room waits, and goes on when there is some. Only compactions get the
//     error: they could wait for ever, with the room that they have taken, and
//     start over later;
//   - while no file can be opened, or the system is short of something else that
//     comes back, what needs it waits likewise (lack);
//   - a read that fails otherwise is tried again a few times; if it was a
//     compaction's, the disk has failed then (unreadable);
//   - the first other error of a change fails the disk for good. The kernel
//     may have dropped what an fsync could not write, so trying again would
//     acknowledge what is not there. From then on nothing changes any more,
//     whatever Pebble's goroutines still try: what is on disk stays as the
//     next start expects it;
//   - Pebble never gets such an error, since it ends the process by a panic,
//     calls Fatalf or tries again for ever. The goroutine that would get it
//     never goes on instead. guard calls Pebble and knows about that.
type disk struct {
	vfs.FS
	hold bool // errors of changes are not returned
	*state
}

// state is what a disk and the one for Pebble share.
type state struct {
	retry time.Duration
	log   *slog.Logger

	failed chan struct{} // closed when the disk has failed
	closed chan struct{} // closed when the store closes: nothing waits any more

	ballast *ballast      // set before Pebble opens; its piece may be 0
	lowered chan struct{} // has an item when low has become true
	crowds  chan struct{} // has an item when a compaction had no room

	mu      sync.Mutex // also held during calls of trouble: one at a time
	trouble func(error)
	waiting int  // goroutines that wait
	low     bool // there was no room, and the ballast is not whole or compactions starve
	starved bool // a compaction had no room
	lacking lack // what trouble was told of last; nothing: all is well
	cause   error
	opening bool // Open has not returned: it reports a failure
	shut    bool
}

func newDisk(fs vfs.FS, retry time.Duration, log *slog.Logger, trouble func(error)) *disk {
	return &disk{FS: fs, state: &state{
		retry: retry, log: log, trouble: trouble, opening: true,
		failed: make(chan struct{}), closed: make(chan struct{}), lowered: make(chan struct{}, 1), crowds: make(chan struct{}, 1),
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
	if d.shut || d.opening {
		return // nobody is there to care, or Open says it
	}
	d.log.Error("store failed: it takes no changes until the next start", "error", err)
	d.trouble(err)
}

// opened ends the time in which Open reports what fails.
func (d *state) opened() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opening = false
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

// lack is what keeps an operation waiting.
type lack uint8

const (
	nothing lack = iota
	room         // on the disk
	files        // descriptors of open files
	memory       // or something else of the system's
)

// lackOf is what an operation lacked; nothing if its error has another cause.
func lackOf(err error) lack {
	for l, errs := range map[lack][]error{room: noRoom[:], files: noFiles[:], memory: noMemory[:]} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return l
			}
		}
	}
	return nothing
}

// isFull says that an error means that there is no room.
func isFull(err error) bool { return lackOf(err) == room }

// change does something that changes the disk, again and again while what it
// needs is lacking. Other errors fail the disk.
func (d *disk) change(op, name string, do func() error) error {
	waits := false
	defer func() {
		if waits {
			d.goOn()
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
		if l := lackOf(err); l != nothing {
			if l == room && d.relieve(err) {
				continue
			}
			if !waits {
				waits = true
				d.wait(l, err)
			}
			if d.pause(d.retry) {
				continue
			}
		}
		d.fail(err)
		return d.refuse(err)
	}
}

// spare is change for the output of a compaction, which gets the error of a full
// disk.
func (d *disk) spare(op, name string, do func() error) error {
	var full error
	err := d.change(op, name, func() error {
		err := do()
		if isFull(err) {
			full = fmt.Errorf("%s %s: %w", op, name, err)
			return nil
		}
		return err
	})
	if err != nil || full == nil {
		return err
	}
	d.crowded(full)
	return full
}

// readTries is how often a read is tried whose error may pass: for four seconds
// in all. Guess.
const readTries = 5

// read does something that changes nothing, again and again while what it needs
// is lacking, and some times after another error that may pass.
func (d *disk) read(op, name string, do func() error) error {
	waits := false
	defer func() {
		if waits {
			d.goOn()
		}
	}()
	pause := d.retry
	for tries := 1; ; {
		err := do()
		if err == nil || lasts(err) {
			return err
		}
		if l := lackOf(err); l != nothing {
			if !waits {
				waits = true
				d.wait(l, fmt.Errorf("%s %s: %w", op, name, err))
			}
			if !d.pause(d.retry) {
				return err
			}
			continue
		}
		if tries == readTries || !d.pause(pause) {
			return err
		}
		tries++
		pause *= 2
	}
}

// lasts says that an error of a read is an answer, which would be the same
// again.
func lasts(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist, fs.ErrPermission, fs.ErrClosed, fs.ErrInvalid, ErrInUse} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
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

// pause waits until it is time to try again. It reports whether to.
func (d *state) pause(long time.Duration) bool {
	t := time.NewTimer(long)
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

// wait and goOn count those who wait.
func (d *state) wait(l lack, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting++
	d.tell(l, err)
}

func (d *state) goOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	d.calm()
}

// relieve gives up a piece of the ballast, and reports whether there was one.
func (d *state) relieve(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return false
	}
	given := d.ballast.give(d.opening)
	if given || d.ballast.missing() > 0 {
		d.lower(err)
	}
	return given
}

// relieveStarved gives up a piece of the ballast, that for a start last, if
// compactions starve or Pebble waits for room. It reports whether it did.
func (d *state) relieveStarved() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return (d.starved || d.waiting > 0) && !d.shut && d.ballast.give(true)
}

// crowded takes note of a compaction that had no room.
func (d *state) crowded(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starved = true
	d.lower(err)
	wake(d.crowds)
}

// wake puts an item into a channel that holds one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lower begins the time in which the disk counts as full, with mu held. The
// keeper ends it (high).
func (d *state) lower(err error) {
	if d.cause != nil || d.shut {
		return
	}
	d.low = true
	d.tell(room, err)
	wake(d.lowered)
}

// isLow tells whether the disk counts as full, and whether compactions starve.
func (d *state) isLow() (low, starved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.low, d.starved
}

// setStarved notes whether compactions starve.
func (d *state) setStarved(now bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starved = now
}

// high ends the time in which the disk counts as full, unless something went
// wrong again since.
func (d *state) high() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.starved || d.ballast.missing() > 0 {
		return false
	}
	d.low = false
	d.calm()
	return true
}

// tell tells of something that is lacking, with mu held, unless that is known.
func (d *state) tell(l lack, err error) {
	if d.lacking == l || d.cause != nil || d.shut {
		return
	}
	d.lacking = l
	switch l {
	case room:
		d.log.Error("disk full: the store waits for room", "error", err)
	case files:
		d.log.Error("file descriptors used up: the store waits for some; raise the limit of open files (ulimit -n, LimitNOFILE in systemd)", "error", err)
	default:
		d.log.Error("the system is short of memory: the store waits", "error", err)
	}
	d.trouble(err)
}

// calm tells that nothing is lacking any more, with mu held, if that is so.
func (d *state) calm() {
	if d.lacking == nothing || d.waiting > 0 || d.low || d.cause != nil || d.shut {
		return
	}
	if d.lacking == room {
		d.log.Info("disk has room again: the store goes on")
	} else {
		d.log.Info("the store goes on: what it waited for is there again")
	}
	d.lacking = nothing
	d.trouble(nil)
}

// create is change, or what is given in its place, for a new file.
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
	change := d.change
	if c == compactionOutput {
		change = d.spare
	}
	f, err := d.create(change, "create", name, func() (vfs.File, error) { return d.FS.Create(name, c) })
	if err == nil && c == compactionOutput {
		f.(*file).spare = true
	}
	return f, err
}

// OpenReadWrite opens a file for changes, or makes it. It waits for room.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.create(d.change, "open", name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite makes a file of an old one. It waits for room.
func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create(d.change, "reuse", to, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

// syncDir makes what was created, renamed and removed in a directory last.
func (d *disk) syncDir(name string) error { return syncDir(d, name) }

func syncDir(fs vfs.FS, name string) error {
	f, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// OpenDir opens a directory, for Sync.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	return d.opens("open directory", name, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

// Open opens a file for reading.
func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.opens("open", name, func() (vfs.File, error) { return d.FS.Open(name, opts...) })
}

// opens is read for a file that is there.
func (d *disk) opens(op, name string, do func() (vfs.File, error)) (vfs.File, error) {
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
	d     *disk
	name  string
	spare bool // the output of a compaction
}

// change is that of the disk, as it is for this file.
func (f *file) change(op string, do func() error) error {
	if f.spare {
		return f.d.spare(op, f.name, do)
	}
	return f.d.change(op, f.name, do)
}

// Write writes all of p. It waits for room and goes on behind what is written
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

// Preallocate asks for room ahead. Without it writes are only slower, so that
// no error matters.
func (f *file) Preallocate(off, length int64) error {
	_ = f.File.Preallocate(off, length)
	return nil
}

// sync is that of the disk. Some file systems find out here that there is no
// room; a compaction loses nothing by that.
func (f *file) sync(do func() error) error {
	var full error
	err := f.d.sync(f.name, func() error {
		err := do()
		if f.spare && isFull(err) {
			full = fmt.Errorf("sync %s: %w", f.name, err)
			return nil
		}
		return err
	})
	if err != nil || full == nil {
		return err
	}
	f.d.crowded(full)
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
	if err != nil && !lasts(err) && f.d.hold && compacting() {
		f.d.unreadable(fmt.Errorf("read %s: %w", f.name, err))
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
