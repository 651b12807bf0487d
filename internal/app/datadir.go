package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"midge/internal/config"
)

// checkDataDir checks a data directory that somebody has asked for: a directory,
// or a place where one could be made. It makes none, since nothing is stored yet.
func (b *Broker) checkDataDir() error {
	if b.cfg.Origin("data_dir").Kind == config.FromDefault {
		return nil
	}
	return checkDir(b.cfg.DataDir)
}

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
