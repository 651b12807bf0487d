package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"midge/internal/config"
	"midge/internal/store/pebblestore"
)

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		wanted  int
		limit   uint64
		known   bool
		durable bool
		connections,
		tables, lingering int
		warning string // its beginning
	}{
		{0, 20_000, true, true, 19_280, 256, 256, ""},
		{0, 20_000, true, false, 19_568, 0, 256, ""},
		{0, 1 << 62, true, true, 1_000_000, 256, 256, ""},
		{0, 1024, true, true, 634, 74, 108, ""},
		{0, 300, true, true, 92, 74, 18, "the limit of open files, 300, leaves room for 92 connections; raise it"},
		{1000, 300, true, true, 92, 74, 18, "limits.connections is 1,000, but the limit of open files, 300, leaves room for 92, which is the limit in force; raise it (ulimit -n, or LimitNOFILE in systemd) to 1,720"},
		{0, 10, true, true, 1, 74, 8, "the limit of open files, 10, leaves room for 1 connections"},
		{0, 0, false, true, 1_000_000, 0, 256, ""},
		{500, 20_000, true, true, 500, 256, 256, ""},
		{19_280, 20_000, true, true, 19_280, 256, 256, ""},
		{19_281, 20_000, true, true, 19_280, 256, 256, "limits.connections is 19,281, but the limit of open files, 20,000, leaves room for 19,280, which"},
		{5_000_000, 0, false, true, 5_000_000, 0, 256, ""},
	} {
		d := share(tt.wanted, tt.limit, tt.known, 8, 2, tt.durable)
		if d.connections != tt.connections || d.tables != tt.tables || d.lingering != tt.lingering || !strings.HasPrefix(d.warning, tt.warning) || (d.warning == "") != (tt.warning == "") {
			t.Errorf("%d wanted of %d: %+v; want %+v", tt.wanted, tt.limit, d, tt)
		}
	}
}

// TestShareFits proves that what is promised to all fits into the limit, from
// where there is any sense in it.
func TestShareFits(t *testing.T) {
	for limit := uint64(180); limit < 70_000; limit += 1 + limit/50 {
		for _, wanted := range []int{0, 100, 1 << 20} {
			d := share(wanted, limit, true, 8, 2, true)
			if all := d.connections + d.refusing + d.lingering + d.tables + pebblestore.OtherFiles + processFiles + 8 + 8; uint64(all) > limit {
				t.Errorf("%d descriptors of %d: %+v", all, limit, d)
			}
			if (d.connections < wanted) != strings.Contains(d.warning, "limits.connections is") {
				t.Errorf("%d wanted of %d: %+v", wanted, limit, d)
			}
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
		got := listenCause(&config.Address{Port: "1883"}, fmt.Errorf("bind: %w", tt.err))
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
