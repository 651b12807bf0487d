package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// View is a store that is open for reading, in a directory that stays as it is:
// for tools. Its methods are for one goroutine at a time.
type View struct {
	dir     string
	fs      vfs.FS // refuses changes
	path    string // of the database
	db      *pebble.DB
	unlock  io.Closer
	scratch string // holds a copy of what can be read of a damaged database; "" for none
	format  int
}

// OpenView opens the store in the directory dir for reading. No process may use
// it, this one included, and none can begin to before Close; other views can.
//
// The error of a damaged database wraps ErrCorrupt, also that of Get and Scan.
// With o.Salvage what can be read of it is copied to a new directory among the
// operating system's temporary ones, and read from there. Report says what was
// lost. Of the other options only FS counts.
func OpenView(dir string, o Options) (*View, Report, error) {
	o = Options{FS: o.FS, Salvage: o.Salvage, migrations: o.migrations}.withDefaults()
	v := &View{dir: dir, fs: readOnlyFS{o.FS}}
	report, err := v.open(o)
	if err != nil {
		return nil, report, v.wrap("open", errors.Join(err, v.Close()))
	}
	return v, report, nil
}

func (v *View) open(o Options) (report Report, err error) {
	if v.unlock, err = share(o.FS, v.dir); err != nil {
		return report, err
	}
	names, err := v.fs.List(v.dir)
	if err != nil {
		return report, err
	}
	switch {
	case slices.Contains(names, dbName):
		v.path = v.fs.PathJoin(v.dir, dbName)
	case slices.Contains(names, salvageName): // finished, and a crash came before its last rename
		v.path = v.fs.PathJoin(v.dir, salvageName)
	default:
		return report, fmt.Errorf("no store is in it: %w", fs.ErrNotExist)
	}
	if v.format, err = readFormat(v.fs, v.dir); err != nil {
		return report, err
	}
	switch newest := latest(o.migrations); {
	case v.format > newest:
		return report, newerFormat(v.format, newest)
	case v.format != 0 && !isReadable(v.format, o.migrations):
		return report, fmt.Errorf("it has format %d, and this version reads format %d; start the broker once, which brings it there", v.format, newest)
	}
	if o.Salvage {
		return v.copy(o)
	}
	if err := inspect(v.fs, v.path); err != nil {
		return report, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if v.db, err = openReadOnly(v.fs, v.path, o); err != nil && !isNewerPebble(err) && isDamage(err) {
		err = corrupt(err)
	}
	return report, err
}

// copy makes a copy of what can be read, and opens that.
func (v *View) copy(o Options) (report Report, err error) {
	if v.scratch, err = os.MkdirTemp("", "midge-store-"); err != nil {
		return report, err
	}
	damaged := openDamaged(v.fs, v.path, &report)
	d := newDisk(private{vfs.Default}, time.Second, o.Log, o.Trouble)
	d.close() // when the disk is full it fails
	to := d.PathJoin(v.scratch, dbName)
	err = d.guard(func() (err error) {
		report.Records, err = copyTo(d, to, o, damaged.merger())
		return err
	})
	damaged.close(&report)
	if d.failure() == nil { // or something of Pebble's may still be writing
		d.direct.close()
	}
	if err != nil {
		return report, fmt.Errorf("copy to %s: %w", v.scratch, err)
	}
	for _, damage := range report.Damage {
		report.LostBytes += damage.Lost
	}
	v.db, err = openReadOnly(readOnlyFS{vfs.Default}, to, o)
	return report, err
}

// openReadOnly opens a database for reading.
func openReadOnly(filesystem vfs.FS, path string, o Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil { // what damage does to Pebble must not end the process
			db, err = nil, fmt.Errorf("pebble: %v", p)
		}
	}()
	d := newDisk(filesystem, time.Second, o.Log, o.Trouble)
	opts := pebbleOptions(d, o, newScheduler())
	opts.ReadOnly = true
	return pebble.Open(path, opts)
}

// Format is the number of the format of the directory, or 0 if its file FORMAT
// is lost.
func (v *View) Format() int { return v.format }

// Get appends the value of a key to dst, or returns store.ErrNotFound.
func (v *View) Get(dst, key []byte) ([]byte, error) {
	dst, err := get(v.db, dst, key)
	return dst, v.wrap("get", err)
}

// Scan yields the keys from the first to before the second.
func (v *View) Scan(from, to []byte, yield func(key, value []byte) error) error {
	broken, err := scan(v.db, from, to, yield)
	return errors.Join(v.wrap("scan", broken), err)
}

// Close ends the use of the view.
func (v *View) Close() (err error) {
	if v.db != nil {
		err = v.db.Close()
	}
	if v.scratch != "" {
		err = errors.Join(err, os.RemoveAll(v.scratch))
	}
	if v.unlock != nil {
		err = errors.Join(err, v.unlock.Close())
	}
	return err
}

// wrap says which operation failed where; nil and store.ErrNotFound stay.
func (v *View) wrap(op string, err error) error {
	if err == nil || isNotFound(err) {
		return err
	}
	return fmt.Errorf("%s the store in %s: %w", op, v.dir, err)
}

// readOnlyFS is a file system that refuses all changes.
type readOnlyFS struct{ vfs.FS }

func (readOnlyFS) refuse(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission}
}

// Create makes no file.
func (f readOnlyFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse("create", name)
}

// OpenReadWrite opens no file.
func (f readOnlyFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, f.refuse("open", name)
}

// ReuseForWrite makes no file.
func (f readOnlyFS) ReuseForWrite(from, _ string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse("reuse", from)
}

// Link links nothing.
func (f readOnlyFS) Link(from, _ string) error { return f.refuse("link", from) }

// Rename renames nothing.
func (f readOnlyFS) Rename(from, _ string) error { return f.refuse("rename", from) }

// Remove removes nothing.
func (f readOnlyFS) Remove(name string) error { return f.refuse("remove", name) }

// RemoveAll removes nothing.
func (f readOnlyFS) RemoveAll(name string) error { return f.refuse("remove", name) }

// MkdirAll makes nothing.
func (f readOnlyFS) MkdirAll(name string, _ os.FileMode) error { return f.refuse("make", name) }

// Lock locks nothing: see share.
func (f readOnlyFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
