package ban

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"midge/internal/linefile"
)

// Editor changes a file of bans, and leaves other lines as they are.
type Editor struct{ file *linefile.File }

// Edit reads a file to change it. One that is not there begins empty.
func Edit(name string) (*Editor, error) {
	f, err := linefile.Open(name, false, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = linefile.Open(name, true, MaxFile)
	}
	if err != nil {
		return nil, err
	}
	return &Editor{f}, nil
}

// Add adds a ban, in place of the one that the same has had, and takes those out
// that are over.
func (e *Editor) Add(b Ban, now time.Time) {
	e.delete(func(old *Ban) bool { return old.Kind == b.Kind && old.Value == b.Value || old.Over(now) })
	e.file.Lines = append(e.file.Lines, []byte(b.Line()))
}

// Remove takes a ban out.
func (e *Editor) Remove(b Ban) error {
	if e.delete(func(old *Ban) bool { return old.Kind == b.Kind && old.Value == b.Value }) == 0 {
		return fmt.Errorf("%s: %s %q is not banned", e.file.Name, b.Kind, b.Value)
	}
	return nil
}

// Save puts the new text in the place of the old one.
func (e *Editor) Save() error { return e.file.Save() }

// delete takes bans out, and returns how many there were.
func (e *Editor) delete(which func(*Ban) bool) int {
	n := len(e.file.Lines)
	e.file.Lines = slices.DeleteFunc(e.file.Lines, func(line []byte) bool {
		b, ok, err := ParseLine(string(line))
		return err == nil && ok && which(&b)
	})
	return n - len(e.file.Lines)
}
