package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// File is what Check found in a file.
type File struct {
	Name  string // in the directory of the database
	Bytes int64
	Err   error // nil if all of it can be read
}

// Check reads every block of the store in the directory dir, which no process
// uses, and verifies its checksum. It changes nothing. The error says why it
// could not look; what it found is in the files, one by one.
func Check(dir string, filesystem vfs.FS) (files []File, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("check the store in %s: %w", dir, err)
		}
	}()
	o := Options{FS: filesystem}.withDefaults()
	path := o.FS.PathJoin(dir, dbName)
	names, err := o.FS.List(path)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(o.FS, o.FS.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock.Close()) }()
	if have, err := readFormat(o.FS, dir); err != nil || have > latest(o.migrations) {
		return nil, fmt.Errorf("%w: format %d (%v)", ErrNewer, have, err)
	}
	slices.Sort(names)
	m, err := readManifest(o.FS, path, names)
	files = append(files, checked(o.FS, path, manifestName(o.FS, path, names), err))
	if err := inspect(o.FS, path); err != nil {
		files = append(files, File{Err: err})
	}
	for _, name := range names {
		if _, kind := fileName(name); kind == "sst" {
			files = append(files, checked(o.FS, path, name, checkTable(o.FS, o.FS.PathJoin(path, name))))
		}
	}
	if err != nil {
		m = nil
	}
	h := readHistory(o.FS, path, names, m)
	for _, name := range h.logs {
		files = append(files, checked(o.FS, path, name, h.fault(name)))
	}
	report := Report{}
	if m != nil {
		report.missing(m, names)
	}
	for _, d := range report.Damage {
		files = append(files, File{Name: d.File, Bytes: d.Lost, Err: fmt.Errorf("%s: %w", d.Reason, fs.ErrNotExist)})
	}
	return files, nil
}

func checked(filesystem vfs.FS, path, name string, err error) File {
	f := File{Name: name, Err: err}
	if info, err := filesystem.Stat(filesystem.PathJoin(path, name)); err == nil {
		f.Bytes = info.Size()
	}
	return f
}

// checkTable reads all blocks of a table.
func checkTable(filesystem vfs.FS, name string) (err error) {
	r, err := openTable(filesystem, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return r.ValidateBlockChecksums()
}
