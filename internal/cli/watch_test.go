package cli

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/cli/command"
)

// TestWatch proves that changes of a configuration are noticed, however they are made, and
// that one which changes nothing makes nobody read it anew.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "midge.toml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(name, "threads = 1\n")
	said := func() string {
		src, _, err := sources(command.World{}, file{name: name}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return texts(&src)
	}
	before := said()
	changed := make(chan struct{}, 64)
	go watch(t.Context(), name, func() { changed <- struct{}{} }, slog.New(slog.NewTextHandler(io.Discard, nil)))
	await := func(what string, change func()) {
		t.Helper()
		guard := time.After(time.Minute)
		for again := time.Duration(0); ; again = quietTime { // the watch may not have begun
			change()
			select {
			case <-changed:
			case <-time.After(2*quietTime + again):
				continue
			case <-guard:
				t.Fatalf("%s is not noticed", what)
			}
			if now := said(); now != before {
				before = now
				return
			}
			t.Fatalf("after %s the files say the same", what)
		}
	}
	await("writing", func() { write(name, "threads = 2\n") })
	await("replacing", func() {
		write(name+".new", "threads = 3\n")
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	})
	await("a directory", func() {
		os.Mkdir(confDir(name), 0o700)
		write(filepath.Join(confDir(name), "10.toml"), "threads = 4\n")
	})
	await("a file in it", func() { write(filepath.Join(confDir(name), "10.toml"), "threads = 5\n") })
	if !strings.HasSuffix(before, "threads = 5\n") {
		t.Errorf("the files say %q", before)
	}
}

// TestConfDir proves which files of the directory beside the configuration count, and that
// they do in the order of their names.
func TestConfDir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"midge.toml": "threads = 1\n", "conf.d/20-b.toml": "threads = 3\n", "conf.d/10-a.toml": "threads = 2\nshards = 5\n",
		"conf.d/README": "no TOML", "conf.d/.30-hidden.toml": "threads = 9\n", "conf.d/40-c.toml~": "threads = 9\n",
	} {
		os.Mkdir("conf.d", 0o700)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := load(t.Context(), command.World{}, file{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Threads != 3 || l.Shards != 5 || l.Origin("threads").String() != filepath.Join("conf.d", "20-b.toml")+":1" {
		t.Errorf("threads = %d from %v, shards = %d", l.Threads, l.Origin("threads"), l.Shards)
	}
}

func TestMatters(t *testing.T) {
	for name, want := range map[string]bool{"./midge.toml": true, "midge.toml": true, "conf.d": true, "conf.d/a.toml": true, "..data": true, "midge.log": false, "midge-data": false, "conf.d.old": false} {
		if got := matters("midge.toml", name); got != want {
			t.Errorf("%s matters: %v", name, got)
		}
	}
}
