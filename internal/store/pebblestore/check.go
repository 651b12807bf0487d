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
	Name  string // in the directory of the database; "" for that as a whole
	Bytes int64
	Err   error // nil if all of it can be read
}

// Check reads every block of the database, and verifies its checksum. It goes
// to the files themselves, also when the view is one of a copy.
func (v *View) Check() (files []File, err error) {
	names, err := v.fs.List(v.path)
	if err != nil {
		return nil, v.wrap("check", err)
	}
	slices.Sort(names)
	m, err := readManifest(v.fs, v.path, names)
	files = append(files, checkedFile(v.fs, v.path, manifestName(v.fs, v.path, names), err))
	if err != nil {
		m = nil
	}
	for _, name := range names {
		if num, kind := parseFileName(name); kind == "sst" && (m == nil || m.has(num)) {
			files = append(files, checkedFile(v.fs, v.path, name, checkTable(v.fs, v.fs.PathJoin(v.path, name))))
		}
	}
	h := readHistory(v.fs, v.path, names, m)
	for _, name := range h.logs {
		files = append(files, checkedFile(v.fs, v.path, name, h.fault(name)))
	}
	report := Report{}
	if m != nil {
		report.addMissing(m, names)
	}
	for _, d := range report.Damage {
		files = append(files, File{Name: d.File, Bytes: d.Lost, Err: fmt.Errorf("%s: %w", d.Reason, fs.ErrNotExist)})
	}
	sound := !slices.ContainsFunc(files, func(f File) bool { return f.Err != nil })
	if err := inspect(v.fs, v.path); err != nil && sound {
		files = append(files, File{Err: err})
	}
	return files, nil
}

func checkedFile(filesystem vfs.FS, path, name string, err error) File {
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
