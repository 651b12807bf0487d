package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// checkDir checks a data directory: a directory, or a place where one can be
// made.
func checkDir(dir string) error {
	switch info, err := os.Stat(dir); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("data directory %s: there is a file of that name", dir)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("data directory: %w", err)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return fmt.Errorf("data directory %s: it does not exist, and there is no directory %s to make it in", dir, parent)
	}
	return nil
}

// describe tells what is in the directory.
func (d *disk) describe() string {
	text := d.dir
	switch {
	case d.report.Quarantine != "":
		text += fmt.Sprintf("; WAS DAMAGED: see %s and the log", d.report.Quarantine)
	case d.report.MigratedFrom != 0:
		text += fmt.Sprintf("; brought up from format %d", d.report.MigratedFrom)
	}
	return text
}
