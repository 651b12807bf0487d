//go:build integration && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestUnwritableDirectory starts a broker where it may not write. It says so, in
// one line, and not that something of its own has failed.
func TestUnwritableDirectory(t *testing.T) {
	root := partition(t, 8)
	for _, dir := range []string{"empty", "used"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	used := filepath.Join(root, "used")
	p := serve(t, "--data-dir", used)
	newPair(t, p, "p").served(3)
	p.signal(syscall.SIGTERM)
	if status := p.wait(patience); status != 0 {
		t.Fatalf("status %d", status)
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"new", "empty", "used"} {
		t.Run(dir, func(t *testing.T) {
			dir := filepath.Join(root, dir)
			status, stdout, stderr := midge(t, t.TempDir(), nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
			begins := "midge: open the store in " + dir + ": "
			if status != 1 || stdout != "" || !strings.HasPrefix(stderr, begins) || !strings.HasSuffix(stderr, ": read-only file system\n") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("status %d, %q\n%s", status, stdout, stderr)
			}
		})
	}
}
