//go:build unix

package pebblestore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// TestPrivate looks at the permissions of everything in a data directory: new,
// of an earlier version that left everything to everybody, and after damage.
func TestPrivate(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, dir string)
	}{
		{"new", func(*testing.T, string) {}},
		{"made before", func(t *testing.T, dir string) { mustDo(t, os.Mkdir(dir, 0o755)) }},
		{"mount point", func(t *testing.T, dir string) { mustDo(t, os.MkdirAll(filepath.Join(dir, "lost+found"), 0o755)) }},
		{"earlier version", func(t *testing.T, dir string) {
			use(t, dir, false)
			mustDo(t, os.MkdirAll(filepath.Join(dir, "quarantine-20260101T000000Z", "db"), 0o755))
			mustDo(t, os.WriteFile(filepath.Join(dir, "quarantine-20260101T000000Z", "records.jsonl"), nil, 0o644))
			mustDo(t, os.WriteFile(filepath.Join(dir, "FORMAT.tmp"), nil, 0o666))
			mustDo(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, _ error) error {
				if e.IsDir() {
					return os.Chmod(name, 0o755)
				}
				return os.Chmod(name, 0o644)
			}))
		}},
		{"damaged", func(t *testing.T, dir string) {
			use(t, dir, false)
			all, err := filepath.Glob(filepath.Join(dir, "db", "marker.manifest*"))
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			mustDo(t, os.Remove(all[0]))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			watch(t)
			dir := filepath.Join(t.TempDir(), "data")
			test.make(t, dir)
			use(t, dir, true)
			seen := 0
			mustDo(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
				if err != nil || e.Name() == "lost+found" {
					return err
				}
				seen++
				info, err := e.Info()
				if err != nil {
					return err
				}
				want := fs.FileMode(0o600)
				if e.IsDir() {
					want = 0o700
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has permissions %v, want %v", name, got, want)
				}
				return nil
			}))
			if seen < 8 {
				t.Errorf("%d files and directories: the test saw too little", seen)
			}
		})
	}
}

// TestPrivateShared opens a directory in which others have files, too: what is
// not the store's stays as it is.
func TestPrivateShared(t *testing.T) {
	watch(t)
	dir := t.TempDir()
	mustDo(t, os.Chmod(dir, 0o775))
	mustDo(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o644))
	mustDo(t, os.Chmod(filepath.Join(dir, "notes"), 0o644))
	use(t, dir, true)
	for name, want := range map[string]fs.FileMode{".": 0o775, "notes": 0o644, "db": 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has permissions %v, want %v", name, got, want)
		}
	}
}

// use opens a store, makes it write all kinds of files, and closes it.
func use(t *testing.T, dir string, aside bool) {
	t.Helper()
	s, _, err := pebblestore.Open(dir, pebblestore.Options{MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		var c store.Changes
		c.Set([]byte(time.Now().String()), make([]byte, 50_000))
		mustDo(t, s.Commit(true, &c))
	}
	if aside {
		mustDo(t, s.Quarantine([]store.Damaged{{Key: []byte("k"), Err: errors.New("damaged")}}))
	}
	mustDo(t, s.Close())
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLockGone removes the lock file of a directory that is in use: nobody else
// gets in, by this path or another, to change it or to read it.
func TestLockGone(t *testing.T) {
	watch(t)
	dir := t.TempDir()
	s := open(t, dir, pebblestore.Options{})
	link := filepath.Join(t.TempDir(), "link")
	mustDo(t, os.Symlink(dir, link))
	for _, path := range []string{link, dir} {
		mustDo(t, os.Remove(filepath.Join(dir, "LOCK")))
		_, said, end := otherProcess(t, path)
		if !strings.Contains(said, "directory in use") {
			t.Errorf("without LOCK another process says %q", said)
		}
		end()
		mustDo(t, os.Remove(filepath.Join(dir, "LOCK")))
		if _, _, err := pebblestore.OpenView(path, pebblestore.Options{}); !errors.Is(err, pebblestore.ErrInUse) {
			t.Errorf("without LOCK a view says %v", err)
		}
		mustDo(t, os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600))
	}
	if _, _, err := pebblestore.Open(link, pebblestore.Options{}); !errors.Is(err, pebblestore.ErrInUse) {
		t.Errorf("by another path: %v", err)
	}
	mustDo(t, s.Commit(true))
	mustDo(t, s.Close())
	mustDo(t, os.Remove(filepath.Join(dir, "LOCK")))
	v, _, err := pebblestore.OpenView(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, said, _ := otherProcess(t, dir); !strings.Contains(said, "directory in use") {
		t.Errorf("beside a view without LOCK another process says %q", said)
	}
	mustDo(t, v.Close())
	mustDo(t, open(t, dir, pebblestore.Options{}).Close())
}
