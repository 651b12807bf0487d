package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"midge/internal/config"
)

func TestConnectionLimit(t *testing.T) {
	for _, tt := range []struct {
		wanted  int
		files   uint64
		known   bool
		limit   int
		warning string // its beginning
	}{
		{0, 20_000, true, 19_800, ""},
		{0, 1 << 62, true, 1_000_000, ""},
		{0, 100, true, 1, ""},
		{0, 0, false, 1_000_000, ""},
		{500, 20_000, true, 500, ""},
		{19_800, 20_000, true, 19_800, ""},
		{19_801, 20_000, true, 19_801, "limits.connections is 19,801, but the limit of open files, 20,000, leaves room for 19,800; raise it"},
		{5_000_000, 0, false, 5_000_000, ""},
	} {
		limit, warning := connectionLimit(tt.wanted, tt.files, tt.known)
		if limit != tt.limit || !strings.HasPrefix(warning, tt.warning) || (warning == "") != (tt.warning == "") {
			t.Errorf("connectionLimit(%d, %d, %v) = %d, %q; want %d, %q", tt.wanted, tt.files, tt.known, limit, warning, tt.limit, tt.warning)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1_234_567: "1,234,567", 123_456: "123,456"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestListenCause(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string // a part of it
	}{
		{syscall.EADDRINUSE, "uses port 1883 already"},
		{syscall.EADDRNOTAVAIL, "no such address"},
		{syscall.EACCES, "not allowed"},
		{fmt.Errorf("something else"), "something else"},
	} {
		got := listenCause(&config.Listener{Port: "1883"}, fmt.Errorf("bind: %w", tt.err))
		if !strings.Contains(got, tt.want) {
			t.Errorf("cause of %v: %q, want %q in it", tt.err, got, tt.want)
		}
	}
}

func TestCheckDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                            "",
		filepath.Join(dir, "new"):      "",
		file:                           "there is a file of that name",
		filepath.Join(file, "x"):       "data directory",
		filepath.Join(dir, "new", "x"): "no directory " + filepath.Join(dir, "new"),
	} {
		err := checkDir(path)
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("checkDir(%s) = %v, want %q", path, err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("checkDir has made something: %v, %v", entries, err)
	}
}
