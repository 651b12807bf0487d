package pebblestore_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// TestInUse opens a directory that this process has open already.
func TestInUse(t *testing.T) {
	watch(t)
	dir := t.TempDir()
	s := open(t, dir, pebblestore.Options{})
	_, _, err := pebblestore.Open(dir, pebblestore.Options{})
	want := fmt.Sprintf("open the store in %s: directory in use: this process uses it already, with the id %d", dir, os.Getpid())
	if !errors.Is(err, pebblestore.ErrInUse) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := s.Commit(true); err != nil { // the attempt did no harm
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, pebblestore.Options{}).Close(); err != nil {
		t.Error(err)
	}
}

// otherDir names the directory for TestOtherProcess in the process that it
// starts.
const otherDir = "MIDGE_TEST_DIRECTORY"

// TestOtherProcess opens a directory that another process has open, to change
// it or to read it. That process is this test, run by itself.
func TestOtherProcess(t *testing.T) {
	watch(t)
	if dir := os.Getenv(otherDir); dir != "" {
		other(dir)
		return
	}
	dir := t.TempDir()
	if err := open(t, dir, pebblestore.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	v, _, err := pebblestore.OpenView(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, said, end := otherProcess(t, dir)
	if want := fmt.Sprintf("another process uses it, with the id %d", os.Getpid()); !strings.Contains(said, want) {
		t.Errorf("beside a view another process says %q, want %q in it", said, want)
	}
	end()
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	pid, said, end := otherProcess(t, dir)
	if said != "open" {
		t.Fatalf("another process says %q", said)
	}
	want := fmt.Sprintf("another process uses it, with the id %d; stop that one, or use another directory", pid)
	if _, _, err := pebblestore.Open(dir, pebblestore.Options{}); !errors.Is(err, pebblestore.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("open: %v, want %q in it", err, want)
	}
	if _, _, err := pebblestore.OpenView(dir, pebblestore.Options{}); !errors.Is(err, pebblestore.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("view: %v, want %q in it", err, want)
	}
	end() // by a kill: its lock goes with it
	if err := open(t, dir, pebblestore.Options{}).Close(); err != nil {
		t.Error(err)
	}
}

// other opens a directory, says how that went, and waits for its end.
func other(dir string) {
	_, _, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		fmt.Println(err)
	} else {
		fmt.Println("open")
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the other end is closed
}

// otherProcess starts a process that opens a directory, and returns what that
// says. end kills it.
func otherProcess(t *testing.T, dir string) (pid int, said string, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$", "-test.v=false")
	cmd.Env = append(os.Environ(), otherDir+"="+dir)
	stdin, err := cmd.StdinPipe() // never written: it ends with this process
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		stdin.Close()
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // by the kill
	}
	t.Cleanup(end)
	said, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, strings.TrimSpace(said), end
}

// TestFormat opens directories with other numbers of the format.
func TestFormat(t *testing.T) {
	for _, test := range []struct {
		line    string
		from    int
		refused string // a part of the error
	}{
		{"midge store 1\n", 1, ""},
		{"midge store 2\n", 0, ""},
		{"midge store 2", 0, ""},
		{"midge store 3\n", 0, "it has format 3 and this version knows formats up to 2; start the version that wrote it, or a later one"},
		{"midge store 17\nand more\n", 0, "it has format 17"},
		{"", 0, ""}, // lost
		{"nonsense\n", 0, ""},
		{"midge store 0\n", 0, ""},
	} {
		t.Run(test.line, func(t *testing.T) {
			watch(t)
			fs, want := prepared(t)
			write(t, fs, "data/FORMAT", []byte(test.line))
			s, report, err := pebblestore.Open("data", small(fs))
			if test.refused != "" {
				if !errors.Is(err, pebblestore.ErrNewer) || !strings.Contains(err.Error(), test.refused) {
					t.Fatalf("got %v, want %q in it", err, test.refused)
				}
				if got := string(read(t, fs, "data/FORMAT")); got != test.line {
					t.Errorf("FORMAT has become %q", got)
				}
				return
			}
			if err != nil || report.MigratedFrom != test.from {
				t.Fatalf("%+v, %v", report, err)
			}
			defer s.Close()
			if have, err := load(t, s); err != nil || !maps.Equal(have, want) {
				t.Errorf("%d records, %v; want %d", len(have), err, len(want))
			}
			if got := string(read(t, fs, "data/FORMAT")); !strings.HasPrefix(got, "midge store 2") {
				t.Errorf("FORMAT is %q", got)
			}
		})
	}
}

// TestNewerPebble refuses a database that a later version of Pebble wrote, and
// does not take it for damaged.
func TestNewerPebble(t *testing.T) {
	watch(t)
	fs, _ := prepared(t)
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "marker.format-version.") {
			if err := fs.Rename("data/db/"+name, "data/db/marker.format-version.000099.099"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := pebblestore.Open("data", small(fs)); !errors.Is(err, pebblestore.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

// TestMigrate migrates through two formats, with a power cut at each change of
// the disk. Each step runs to its end at least once, in the order of formats,
// and nothing is lost.
func TestMigrate(t *testing.T) {
	tick := watch(t)
	base, want := prepared(t)
	write(t, base, "data/FORMAT", []byte("midge store 1\n"))
	for cut := int64(0); ; cut++ {
		tick()
		fs := vfs.NewCrashableMem()
		if _, err := vfs.Clone(base, fs, "", "", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		var n atomic.Int64
		var crash *vfs.MemFS
		cutting := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1)-1 == cut {
				crash = fs.CrashClone(vfs.CrashCloneCfg{})
			}
			return nil
		})
		var steps []string
		step := func(name string) func(vfs.FS, string) error {
			return func(fs vfs.FS, dir string) error {
				f, err := fs.Create(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
				if err != nil {
					return err
				}
				steps = append(steps, name)
				return errors.Join(f.Sync(), f.Close())
			}
		}
		o := pebblestore.Migrating(small(errorfs.Wrap(fs, cutting)), step("two"), step("three"))
		s, report, err := pebblestore.Open("data", o)
		if err != nil || report.MigratedFrom != 1 || strings.Join(steps, " ") != "two three" {
			t.Fatalf("%+v, %v, steps %v", report, err, steps)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if crash == nil {
			t.Logf("%d cuts", cut)
			return
		}
		steps = nil
		s, report, err = pebblestore.Open("data", pebblestore.Migrating(small(crash), step("two"), step("three")))
		if err != nil {
			t.Fatalf("after cut %d: %v", cut, err)
		}
		if ran := strings.Join(steps, " "); report.MigratedFrom == 1 && ran != "two three" || report.MigratedFrom == 2 && ran != "three" || report.MigratedFrom == 0 && ran != "" {
			t.Errorf("after cut %d from format %d ran %q", cut, report.MigratedFrom, ran)
		}
		if got := string(read(t, crash, "data/FORMAT")); got != "midge store 3\n" {
			t.Errorf("after cut %d FORMAT is %q", cut, got)
		}
		for _, name := range []string{"two", "three"} {
			if _, err := crash.Stat("data/" + name); err != nil {
				t.Errorf("after cut %d a step is missing: %v", cut, err)
			}
		}
		if have, err := load(t, s); err != nil || !maps.Equal(have, want) {
			t.Errorf("after cut %d: %d records, %v; want %d", cut, len(have), err, len(want))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMigrateFails names the step that failed, and leaves the format as it is.
func TestMigrateFails(t *testing.T) {
	watch(t)
	fs, _ := prepared(t)
	write(t, fs, "data/FORMAT", []byte("midge store 1\n"))
	o := pebblestore.Migrating(small(fs), func(vfs.FS, string) error { return errors.New("no way") })
	if _, _, err := pebblestore.Open("data", o); err == nil || !strings.Contains(err.Error(), "migrate from format 1 to 2: no way") {
		t.Errorf("got %v", err)
	}
	if got := string(read(t, fs, "data/FORMAT")); got != "midge store 1\n" {
		t.Errorf("FORMAT is %q", got)
	}
}

// TestQuarantine salvages twice in the same second. Both databases are kept as
// they were found, and the log says what was lost.
func TestQuarantine(t *testing.T) {
	watch(t)
	fs := vfs.NewMem()
	const records = 4000
	filling := open(t, "data", small(fs))
	for i := range records { // each set once: no block holds only what was replaced since, so that damage loses some
		var c store.Changes
		c.Set(fmt.Appendf(nil, "key %05d", i), bytes.Repeat([]byte{byte('a' + i%26)}, 100+i%200))
		if err := filling.Commit(false, &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := filling.Close(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	o := pebblestore.At(small(fs), time.Date(2026, 11, 21, 12, 0, 5, 0, time.FixedZone("", 3600)))
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	left := records
	for i, name := range []string{"quarantine-20261121T110005Z", "quarantine-20261121T110005Z-2"} {
		damaged := damageTable(t, fs)
		before := read(t, fs, "data/db/"+damaged)
		log.Reset()
		o.Salvage = true
		s, report, err := pebblestore.Open("data", o)
		if err != nil {
			t.Fatal(err)
		}
		if report.Quarantine != "data/"+name {
			t.Errorf("salvage %d: quarantine %s, want %s", i, report.Quarantine, name)
		}
		if got := read(t, fs, report.Quarantine+"/"+damaged); string(got) != string(before) {
			t.Errorf("salvage %d: the quarantine does not hold what was found", i)
		}
		have, err := load(t, s)
		if err != nil || len(have) == 0 || len(have) >= left {
			t.Errorf("salvage %d: %d of %d records, %v", i, len(have), left, err)
		}
		for _, want := range []string{
			"level=ERROR", "store: damage\" file=" + damaged, "lost_bytes=", "store salvaged: the damaged database is kept in quarantine\" quarantine=data/" + name,
			fmt.Sprintf("records_copied=%d lost_bytes=%d", report.Records, report.LostBytes),
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("salvage %d: no %q in the log\n%s", i, want, log.String())
			}
		}
		if report.LostBytes == 0 {
			t.Errorf("salvage %d: %+v", i, report)
		}
		left = len(have)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// damageTable damages a block in the middle of the biggest table.
func damageTable(t *testing.T, fs vfs.FS) (name string) {
	t.Helper()
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	var big []byte
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			if b := read(t, fs, "data/db/"+n); len(b) > len(big) {
				name, big = n, b
			}
		}
	}
	if name == "" {
		t.Fatal("no table")
	}
	big[len(big)/2] ^= 0x40
	write(t, fs, "data/db/"+name, big)
	return name
}

// TestSalvageCrash cuts the power at each change of the disk during a salvage.
// The next start ends with the same records as one without a cut. The renames
// are few and all depends on them: there it looks at many of the states that a
// cut may leave.
func TestSalvageCrash(t *testing.T) {
	step := watch(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	base, _ := filled(t, false)
	name := damageTable(t, base)
	found := read(t, base, "data/db/"+name)
	salvaged := func(fs vfs.FS) (map[string]string, error) {
		o := small(fs)
		s, _, err := pebblestore.Open("data", o)
		if err != nil {
			return nil, err
		}
		have, err := load(t, s)
		if errors.Is(err, pebblestore.ErrCorrupt) {
			s.Close()
			o.Salvage = true
			if s, _, err = pebblestore.Open("data", o); err != nil {
				return nil, err
			}
			have, err = load(t, s)
		}
		return have, errors.Join(err, s.Close())
	}
	var want map[string]string
	for cut := int64(-1); ; cut += 1 + cut/20 {
		step()
		fs := vfs.NewCrashableMem()
		if _, err := vfs.Clone(base, fs, "", "", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		var n atomic.Int64
		var crashes [2]atomic.Pointer[vfs.MemFS]
		cutting := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
				return nil
			}
			at := n.Add(1) - 1
			if at == cut {
				crashes[0].Store(fs.CrashClone(vfs.CrashCloneCfg{}))
				crashes[1].Store(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, uint64(cut)))}))
			}
			if cut < 0 && (op.Path == "data" || fs.PathDir(op.Path) == "data") {
				luck := rand.New(rand.NewPCG(seed, uint64(at)))
				for range 20 {
					if err := keeps(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: luck}), name, found); err != nil {
						t.Errorf("after a cut at operation %d, on %s: %v", at, op.Path, err)
					}
				}
			}
			return nil
		})
		have, err := salvaged(errorfs.Wrap(fs, cutting))
		if err != nil || len(have) == 0 {
			t.Fatalf("%d records, %v", len(have), err)
		}
		if cut < 0 {
			want = have
			continue
		}
		if !maps.Equal(have, want) {
			t.Fatalf("%d records, %d the first time", len(have), len(want))
		}
		if crashes[1].Load() == nil {
			t.Logf("cuts up to operation %d", cut)
			return
		}
		for i := range crashes {
			after := crashes[i].Load()
			if have, err = salvaged(after); err != nil || !maps.Equal(have, want) {
				t.Fatalf("after cut %d: %d records, %v; want %d", cut, len(have), err, len(want))
			}
			if names, _ := after.List("data"); strings.Contains(strings.Join(names, " "), "db.salvage") || !strings.Contains(strings.Join(names, " "), "quarantine-") {
				t.Fatalf("after cut %d: %v", cut, names)
			}
		}
	}
}

// TestSalvageFinished starts behind a crash that came between the two renames of
// a salvage. The copy is the database, and the report names the newest
// quarantine, which holds what was damaged.
func TestSalvageFinished(t *testing.T) {
	watch(t)
	fs := vfs.NewMem()
	s := open(t, "data", small(fs))
	var c store.Changes
	c.Set([]byte("key"), []byte("value"))
	if err := s.Commit(true, &c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.Rename("data/db", "data/db.salvage"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"quarantine-20261121T110005Z", "quarantine-20261121T110005Z-2", "quarantine-20251231T235959Z"} {
		if err := fs.MkdirAll("data/"+name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	o := small(fs)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, report, err := pebblestore.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "data/quarantine-20261121T110005Z-2"; report.Quarantine != want || !strings.Contains(log.String(), "quarantine="+want+" ") {
		t.Errorf("the report names %s, want %s; the log says\n%s", report.Quarantine, want, log.String())
	}
	if len(report.Damage) != 1 || !strings.Contains(report.Damage[0].Reason, "a salvage was interrupted") {
		t.Errorf("damage %+v", report.Damage)
	}
	if have, err := load(t, s); err != nil || !maps.Equal(have, map[string]string{"key": "value"}) {
		t.Errorf("have %v, %v", have, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// keeps says what is wrong with what a cut left of a salvage: a database must
// be there, and that with the damaged table as it was found.
func keeps(fs vfs.FS, table string, found []byte) error {
	names, err := fs.List("data")
	if err != nil {
		return err
	}
	if !slices.Contains(names, "db") && !slices.Contains(names, "db.salvage") {
		return fmt.Errorf("no database is left: %q", names)
	}
	for _, name := range names {
		f, err := fs.Open("data/" + name + "/" + table)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if bytes.Equal(b, found) {
			return nil
		}
	}
	return fmt.Errorf("the damaged database is not kept: %q", names)
}

// TestDiskFullOpen opens a store on a full disk, at each operation: it waits,
// goes on when there is room, and ends when it is told to stop.
func TestDiskFullOpen(t *testing.T) {
	step := watch(t)
	for _, stopped := range []bool{false, true} {
		for left := int64(0); ; left++ {
			step()
			room := &room{}
			room.left.Store(left)
			fs := vfs.NewCrashableMem()
			stop, told := make(chan struct{}), make(chan error, 100)
			o := pebblestore.Quick(small(errorfs.Wrap(fs, errorfs.InjectorFunc(room.take))))
			o.Stop, o.Trouble = stop, func(err error) { told <- err }
			ended := make(chan error, 1)
			go func() {
				s, _, err := pebblestore.Open("data", o)
				if err == nil {
					err = s.Commit(true)
					room.left.Store(1 << 40) // a Close without would fail, and be right
					err = errors.Join(err, s.Close())
				}
				ended <- err
			}()
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
			case err := <-told:
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("told %v", err)
				}
				if stopped {
					close(stop)
				} else {
					room.left.Store(1 << 40)
				}
				if err := <-ended; stopped != errors.Is(err, syscall.ENOSPC) || !stopped && err != nil {
					t.Fatalf("room for %d, stopped %v: %v", left, stopped, err)
				}
				continue
			}
			t.Logf("stopped %v: it needs %d operations", stopped, left)
			break
		}
	}
}
