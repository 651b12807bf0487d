package passwordfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func save(t *testing.T, e *Editor) {
	t.Helper()
	if err := e.Save(); err != nil {
		t.Fatal(err)
	}
}

// TestEdit adds, changes and deletes users, and leaves all other lines alone.
func TestEdit(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "passwords")
	if _, err := Edit(name, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
	e, err := Edit(name, true)
	if err != nil {
		t.Fatal(err)
	}
	save(t, e)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("a new file has mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(name, []byte("# ours\r\nalice:1\n\nbroken\nalice:2\nbob:secret\nalice:3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	if e, err = Edit(link, false); err != nil {
		t.Fatal(err)
	}
	if added, err := e.Set("alice", "new"); err != nil || added {
		t.Errorf("alice: %t, %v", added, err)
	}
	if added, err := e.Set("carol", "hers"); err != nil || !added {
		t.Errorf("carol: %t, %v", added, err)
	}
	if err := e.Delete("dave"); !errors.Is(err, ErrNoUser) {
		t.Errorf("delete dave: %v", err)
	}
	if n, err := e.HashAll(PBKDF2); n != 4-1 && err != nil {
		t.Errorf("%d hashed, %v", n, err)
	}
	if err := e.Delete("carol"); err != nil {
		t.Error(err)
	}
	save(t, e)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 6 || lines[0] != "# ours" || !strings.HasPrefix(lines[1], "alice:$7$") || lines[2] != "" || lines[3] != "broken" || !strings.HasPrefix(lines[4], "bob:$7$") || lines[5] != "" {
		t.Errorf("now it is\n%s", text)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is a file now")
	}
	if info, _ := os.Stat(name); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("%d files are left in the directory", len(files))
	}
}

// TestSaveFails leaves the old file when the new one can't be written, and nothing
// beside it.
func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "passwords")
	e, err := Edit(name, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil { // a file can't take the place of a directory
		t.Fatal(err)
	}
	if err := e.Save(); err == nil {
		t.Error("saved over a directory")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
}

func TestCheckName(t *testing.T) {
	for _, bad := range []string{"", "a:b", "a\nb", "a\rb", "#a", "\xff", strings.Repeat("x", 65_536), "a\x00"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken", shorten(bad))
		}
	}
	for _, good := range []string{"a", "with blank", "ü", "a#b", "$x", "a/b"} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
}
