package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The file FORMAT has one line, "midge store 2". The number says what the
// directory holds and how keys and values are to be read. A version that
// writes anything else counts it up and adds the step that leads there.

// firstFormat is the number of the first format.
const firstFormat = 1

// migration changes a directory from one format to the next. A crash may end
// it anywhere; it then runs again from its beginning. nil: there is nothing to
// change, since every directory of the older format is one of the newer.
type migration func(fs vfs.FS, dir string) error

// migrations are the steps: the first leads from format 1 to 2, and so on.
func migrations() []migration {
	return []migration{
		nil, // 2 adds the clock, the intervals of messages and the queues of groups
	}
}

// isReadable reports whether a directory of some format can be read as it is.
func isReadable(have int, steps []migration) bool {
	for _, step := range steps[have-firstFormat:] {
		if step != nil {
			return false
		}
	}
	return true
}

// latest is the number of the format that the last step leads to.
func latest(steps []migration) int { return firstFormat + len(steps) }

// migrate brings a directory to the latest format, step by step. It returns
// the format from which it did, or 0 if there was nothing to do.
func migrate(fs *disk, dir string, steps []migration) (from int, err error) {
	have, err := readFormat(fs, dir)
	if err != nil {
		return 0, err
	}
	newest := latest(steps)
	switch {
	case have > newest:
		return 0, newerFormat(have, newest)
	case have == newest:
		return 0, nil
	case have == 0: // new, or the line is lost: every version since has left its own number
		return 0, writeFormat(fs, dir, newest)
	}
	for n := have; n < newest; n++ {
		if step := steps[n-firstFormat]; step != nil {
			if err := step(fs, dir); err != nil {
				return 0, fmt.Errorf("migrate from format %d to %d: %w", n, n+1, err)
			}
		}
		if err := writeFormat(fs, dir, n+1); err != nil {
			return 0, err
		}
	}
	return have, nil
}

// newerFormat is the error for a directory of a later version.
func newerFormat(have, newest int) error {
	return fmt.Errorf("%w: it has format %d and this version knows formats up to %d; start the version that wrote it, or a later one", ErrNewer, have, newest)
}

// readFormat is the format of a directory, or 0 if it has no file FORMAT, or one
// that no version has written.
func readFormat(fsys vfs.FS, dir string) (int, error) {
	f, err := fsys.Open(fsys.PathJoin(dir, formatName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, fmt.Errorf("read FORMAT: %w", err)
	}
	var n int
	line, _, _ := strings.Cut(string(text), "\n")
	if _, err := fmt.Sscanf(line, "midge store %d", &n); err != nil || n < firstFormat {
		return 0, nil
	}
	return n, nil
}

// writeFormat writes the number so that a crash leaves the old or the new one.
func writeFormat(fs *disk, dir string, n int) error {
	tmp := fs.PathJoin(dir, formatTempName)
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "midge store %d\n", n)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, formatName)); err != nil {
		return err
	}
	return fs.syncDir(dir)
}
