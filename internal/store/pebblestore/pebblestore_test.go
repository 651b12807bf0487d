package pebblestore_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
	"midge/internal/store/storetest"
)

// small are options that make little data fill many files.
func small(fs vfs.FS) pebblestore.Options {
	return pebblestore.Options{FS: fs, MemTableBytes: 256 << 10, CacheBytes: 64 << 10}
}

func TestBackend(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		storetest.Run(t, true, func(t *testing.T) storetest.Open {
			watch(t)
			fs := vfs.NewMem()
			return func(t *testing.T) store.Backend { return open(t, "data", small(fs)) }
		})
	})
	t.Run("disk", func(t *testing.T) {
		storetest.Run(t, true, func(t *testing.T) storetest.Open {
			watch(t)
			dir := t.TempDir()
			return func(t *testing.T) store.Backend { return open(t, dir, pebblestore.Options{}) }
		})
	})
}

func open(t *testing.T, dir string, o pebblestore.Options) *pebblestore.Store {
	t.Helper()
	s, report, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Quarantine != "" {
		t.Fatalf("quarantine: %+v", report)
	}
	return s
}
