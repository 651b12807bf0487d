// Package linefile edits files of lines that a running broker reads, such as those of
// passwords: whoever reads one meanwhile gets the old text or the new one.
//
// Files, from the bottom up: owner_unix.go, owner_other.go, linefile.go.
package linefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is the text of a file that is to be changed.
type File struct {
	Name  string
	Lines [][]byte // without line ends

	old fs.FileInfo // nil: there was no such file
}

// Open reads a file of at most maxBytes bytes to change it. With create it begins with an
// empty one.
func Open(name string, create bool, maxBytes int64) (*File, error) {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real // the link stays
	}
	f := &File{Name: name}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	case err == nil:
		f.old = info
	case !create:
		return nil, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if create {
		return f, nil
	}
	if info.Size() > maxBytes {
		return nil, fmt.Errorf("%s has %d bytes; such a file has %d at most", name, info.Size(), maxBytes)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		f.Lines = append(f.Lines, bytes.TrimRight(line, "\r\n"))
	}
	return f, nil
}

// Save puts the new text in the place of the old one, all of it or nothing: a
// broker that reads meanwhile gets one of them. A new file is for its owner only;
// another one keeps its owner and permissions, but for those of everybody.
func (f *File) Save() error {
	dir := filepath.Dir(f.Name)
	next, err := os.CreateTemp(dir, "."+filepath.Base(f.Name)+".*") // with mode 0600
	if err != nil {
		return err
	}
	if err = errors.Join(f.write(next), next.Close()); err == nil {
		err = os.Rename(next.Name(), f.Name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return syncDir(dir)
}

// write writes the text to a new file, and puts it on disk.
func (f *File) write(next *os.File) error {
	var text bytes.Buffer
	for _, line := range f.Lines {
		text.Write(line)
		text.WriteByte('\n')
	}
	if _, err := next.Write(text.Bytes()); err != nil {
		return err
	}
	if f.old != nil {
		if err := giveTo(next, f.old); err != nil {
			return fmt.Errorf("give the new file to the owner of %s: %w", f.Name, err)
		}
		if err := next.Chmod(f.old.Mode().Perm() &^ 0o007); err != nil {
			return err
		}
	}
	return next.Sync()
}
