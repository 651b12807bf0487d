package pebblestore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// dirMode is the permissions of directories that the store makes, and the maximum
// that it leaves to files: messages are nobody else's business.
const dirMode = 0o700

// private is the operating system's file system, with files that only their
// owner can read. Pebble asks for permissions that the umask cuts down, and
// that is everybody's to read as a rule.
type private struct{ vfs.FS }

// Create makes a file.
func (p private) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	return p.restricted(f, name, err)
}

// OpenReadWrite opens a file, or makes it.
func (p private) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, c, opts...)
	return p.restricted(f, name, err)
}

func (p private) restricted(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := restrict(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// MkdirAll makes a directory and those above it. The umask may only take from
// what they get.
func (p private) MkdirAll(name string, _ os.FileMode) error { return p.FS.MkdirAll(name, dirMode) }

// Unwrap is the file system below.
func (p private) Unwrap() vfs.FS { return p.FS }

// isOS reports whether a file system is the operating system's.
func isOS(fs vfs.FS) bool {
	if p, ok := fs.(private); ok {
		fs = p.FS
	}
	return fs == vfs.Default
}

// restrictAll takes the permissions from others that earlier versions, or whoever
// made the directory, gave them. The directory itself stays as it is if there is
// something in it that is not the store's: the user may have named one that is
// shared.
func restrictAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed error
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !isOurName(e.Name()) && e.Name() != "lost+found" }) {
		failed = restrict(dir)
	}
	for _, e := range entries {
		if !isOurName(e.Name()) {
			continue
		}
		err := filepath.WalkDir(filepath.Join(dir, e.Name()), func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.Type().IsRegular() || e.IsDir() {
				failed = errors.Join(failed, restrict(name))
			}
			return nil
		})
		failed = errors.Join(failed, err)
	}
	return failed
}

// restrict leaves a file or directory to its owner.
func restrict(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return os.Chmod(name, info.Mode().Perm()&dirMode)
}
