package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/settings"
)

// TestBansFollow changes the file of bans in each way, and proves what is in force then.
func TestBansFollow(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bans")
	b, err := openBans(name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		written = written.Add(time.Second) // whatever the file system's clock does
		if err := os.Chtimes(name, written, written); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, wantChanged, wantErr bool, count int, failed uint64) {
		t.Helper()
		changed, err := b.refresh()
		if changed != wantChanged || (err != nil) != wantErr || b.list.Len() != count || b.failed.Load() != failed {
			t.Errorf("%s: changed %v, %v, %d bans, %d failed", what, changed, err, b.list.Len(), b.failed.Load())
		}
	}
	check("none", false, false, 0, 0)
	write("client a\nuser b\n")
	check("two", true, false, 2, 0)
	check("the same", false, false, 2, 0)
	write("client a\nusers b\naddress 1.2.3.4")
	check("a broken line", true, false, 2, 1)
	check("told once", false, false, 2, 1)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	check("a directory", false, true, 2, 2) // those before stay
	check("told once", false, false, 2, 2)
	if _, err := openBans(name, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "bans.file: ") {
		t.Errorf("the start goes on: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	check("gone", true, false, 0, 2)
	write("client c")
	check("back", true, false, 1, 2)
}

// TestBansFile proves where the file is.
func TestBansFile(t *testing.T) {
	for _, tt := range []struct{ file, durability, want string }{
		{"", "commit", filepath.Join("data", "bans")},
		{"", "none", ""},
		{"x", "none", "x"},
		{"x", "interval", "x"},
	} {
		s := settings.Default()
		s.Bans.File, s.Durability, s.DataDir = tt.file, tt.durability, "data"
		if got := BansFile(&s); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
