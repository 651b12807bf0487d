package tlsconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"
)

// stamp tells a file from what it was before. Links are followed: what Kubernetes
// and certbot exchange are links.
type stamp struct {
	size     int64
	modified time.Time
	info     fs.FileInfo // nil: it is not there
}

func stamps(names []string) (all []stamp) {
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			all = append(all, stamp{})
			continue
		}
		all = append(all, stamp{info.Size(), info.ModTime(), info})
	}
	return all
}

// same reports whether files are those that they were.
func same(a, b []stamp) bool {
	return slices.EqualFunc(a, b, func(x, y stamp) bool {
		if x.info == nil || y.info == nil {
			return x.info == nil && y.info == nil
		}
		return x.size == y.size && x.modified.Equal(y.modified) && os.SameFile(x.info, y.info)
	})
}

// read reads a file. key is the setting that names it.
func read(key, name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s: %s %s: %w", key, path.Op, name, path.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read %s: %w", key, name, err)
	}
	return b, nil
}

// checkReadable refuses a private key that everybody on the machine may read.
func checkReadable(key, name string) error {
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o007 == 0 {
		return nil // read says what is wrong
	}
	return fmt.Errorf("%s: everybody on this machine may read the private key in %s (mode %04o); type: chmod o= %s   (or set tls.readable_keys = true)",
		key, name, info.Mode().Perm(), name)
}
