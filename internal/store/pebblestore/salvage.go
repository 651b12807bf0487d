package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The names in the user's directory. A salvage copies db to db.salvage, and
// then renames db to a quarantine and db.salvage to db. So db.salvage beside
// db is unfinished, and db.salvage alone is finished.
const (
	dbName         = "db"
	salvageName    = "db.salvage"
	quarantineName = "quarantine-"
)

// openOrSalvage opens the database. It begins a new one if there is none, and
// salvages one that is damaged.
func openOrSalvage(d *disk, dir string, o Options, report *Report) (*pebble.DB, *scheduler, error) {
	path := d.PathJoin(dir, dbName)
	if err := finishSalvage(d, dir, o, report); err != nil {
		return nil, nil, err
	}
	damage := inspect(d, path)
	if damage == nil && o.Salvage {
		damage = errors.New("reading found it damaged")
	}
	if damage == nil {
		if d.ballast.scarce() {
			removeLeftovers(d, path)
		}
		db, compactions, err := openPebble(d, path, o)
		if err == nil {
			return db, compactions, nil
		}
		if newerPebble(err) {
			return nil, nil, fmt.Errorf("%w: %w", ErrNewer, err)
		}
		if d.failure() != nil || !damaged(err) {
			return nil, nil, err
		}
		damage = err
	}
	o.Log.Error("store damaged: copying what can be read to a new database", "directory", dir, "error", damage)
	report.Damage = append(report.Damage, Damage{Reason: damage.Error()})
	salvaged := *report
	if err := d.guard(func() error { return salvage(d, dir, o, &salvaged) }); err != nil {
		return nil, nil, fmt.Errorf("salvage the damaged database (%w): %w", damage, err)
	}
	*report = salvaged
	logReport(o, report)
	return openPebble(d, path, o)
}

// finishSalvage brings what a crash interrupted to an end: it removes an
// unfinished copy, or puts a finished one in its place.
func finishSalvage(d *disk, dir string, o Options, report *Report) error {
	names, err := d.List(dir)
	if err != nil || !slices.Contains(names, salvageName) {
		return err
	}
	copied := d.PathJoin(dir, salvageName)
	if slices.Contains(names, dbName) {
		return d.RemoveAll(copied)
	}
	for _, name := range names { // the newest sorts last
		if strings.HasPrefix(name, quarantineName) && name > report.Quarantine {
			report.Quarantine = name
		}
	}
	report.Quarantine = d.PathJoin(dir, report.Quarantine)
	report.Damage = append(report.Damage, Damage{Reason: "a salvage was interrupted after it had copied everything that can be read"})
	logReport(o, report)
	return d.Rename(copied, d.PathJoin(dir, dbName)) // undone by a power cut, the next start does it again
}

// inspect finds the damage that Pebble would not see: without its marker it
// takes the directory for empty, and begins anew; without a log it takes
// everything for flushed; and a log or a manifest ends for it at the first
// record that it cannot read.
func inspect(fs vfs.FS, path string) error {
	names, err := fs.List(path)
	if err != nil {
		return nil // new, or Pebble says what it is
	}
	var tables, logs, options bool
	for _, name := range names {
		tables = tables || strings.HasSuffix(name, ".sst")
		logs = logs || strings.HasSuffix(name, ".log")
		options = options || strings.HasPrefix(name, "OPTIONS-") // written after the first log
	}
	switch {
	case !hasMarker(names, "manifest") && (tables || logs):
		return errors.New("the marker of the manifest is missing")
	case options && !logs:
		return errors.New("the log is missing")
	}
	m, err := readManifest(fs, path, names)
	if errors.Is(err, errDamage) {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	if err != nil {
		return nil // Pebble says what it is; or there is none yet
	}
	h := readHistory(fs, path, names, m)
	for _, hole := range h.holes {
		if hole.proven(h.synced) {
			return fmt.Errorf("%s: records are missing that were on disk", hole.file)
		}
	}
	return nil
}

// newerPebble says that Pebble does not know the format of the database. It
// has no value for the error.
func newerPebble(err error) bool {
	return strings.Contains(err.Error(), "written in unknown format major version")
}

// damaged says that an error of opening means that data is damaged or missing,
// rather than that the operating system refuses for another reason. What cannot
// be read, although that was tried several times, is damage too: all of it stays
// in the quarantine.
func damaged(err error) bool {
	if !refused(err) {
		return !errors.Is(err, fs.ErrPermission)
	}
	return errors.Is(err, syscall.EIO)
}

// salvage copies everything that can be read of the database to a new one, and
// puts that in its place. The copy is in the directory for good before the
// renames: see openPebble.
func salvage(d *disk, dir string, o Options, report *Report) error {
	from, to := d.PathJoin(dir, dbName), d.PathJoin(dir, salvageName)
	if err := d.RemoveAll(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w := readWreck(d, from, report)
	records, err := copyTo(d, to, o, w.merger())
	w.close(report)
	if err != nil {
		return err
	}
	report.Records = records
	for _, damage := range report.Damage {
		report.LostBytes += damage.Lost
	}
	report.Quarantine = newQuarantine(d, dir, o.now())
	if err := d.Rename(from, report.Quarantine); err != nil {
		return err
	}
	if err := d.syncDir(dir); err != nil { // in this order, after a crash too
		return err
	}
	return d.Rename(to, from) // finishSalvage does it again if a power cut undoes it
}

// newQuarantine is the name of a new quarantine in the user's directory: the
// time, with a number behind it if it is taken.
func newQuarantine(fs vfs.FS, dir string, now time.Time) string {
	name := fs.PathJoin(dir, quarantineName+now.UTC().Format("20060102T150405Z"))
	free := name
	for n := 2; ; n++ {
		if _, err := fs.Stat(free); err != nil {
			return free
		}
		free = name + "-" + strconv.Itoa(n)
	}
}

// copyTo writes the records to a new database, and returns their number. It
// does not return when the disk fails.
func copyTo(d *disk, path string, o Options, m *merger) (records int64, err error) {
	db, _, err := openPebble(d, path, o)
	if err != nil {
		return 0, err
	}
	b := db.NewBatch()
	err = m.each(func(key, value []byte) error {
		records++
		if err := b.Set(key, value, nil); err != nil || b.Len() < 1<<20 {
			return err
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
		b.Reset()
		return d.failure()
	})
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	return records, errors.Join(err, b.Close(), db.Close())
}

// wreck is a damaged database, open for reading.
type wreck struct {
	tables  []*tableSource
	sources []source
	gaps    []gap
}

// readWreck opens the files of a damaged database. Those that the manifest
// does not list are left out: they hold what was replaced since. Without a
// manifest that can be read all files count.
func readWreck(fs vfs.FS, path string, report *Report) *wreck {
	names, err := fs.List(path)
	if err != nil {
		report.add("", err.Error(), 0)
	}
	slices.Sort(names)
	m, err := readManifest(fs, path, names)
	if err != nil {
		file := ""
		if m != nil {
			file = m.file
		}
		report.add(file, "the list of files cannot be read, so that deleted records may be back: "+err.Error(), 0)
		m = nil
	}
	w := &wreck{}
	for _, name := range names {
		num, kind := fileName(name)
		switch {
		case kind == "sst" && (m == nil || m.has(num)):
			w.table(fs, path, name, m.size(num), report)
		}
	}
	w.logs(fs, path, names, m, report)
	if m != nil {
		report.missing(m, names)
	}
	return w
}

func (w *wreck) table(fs vfs.FS, path, name string, size int64, report *Report) {
	s, gaps, err := newTableSource(fs, path, name)
	if err != nil {
		if info, err := fs.Stat(fs.PathJoin(path, name)); err == nil {
			size = max(size, info.Size())
		}
		report.add(name, err.Error(), size)
		return
	}
	w.tables = append(w.tables, s)
	w.sources = append(w.sources, s)
	w.gaps = append(w.gaps, gaps...)
}

// logs reads the changes of the logs into memory, up to the first hole that a
// crash explains: what follows that was never acknowledged, and lacks what it
// builds on.
func (w *wreck) logs(fs vfs.FS, path string, names []string, m *manifest, report *Report) {
	h := readHistory(fs, path, names, m)
	for _, name := range h.logs {
		s := &logSource{}
		h.read(fs, path, name, func(record []byte, _ unread) error {
			if !h.counts(record) {
				return nil
			}
			if err := s.add(record); err != nil {
				report.add(name, err.Error(), int64(len(record)))
			}
			return nil
		})
		s.sort()
		w.sources = append(w.sources, s)
		w.gaps = append(w.gaps, s.gaps...)
	}
	for _, hole := range h.holes {
		if hole.proven(h.synced) {
			report.add(hole.file, hole.String(), max(hole.unread.bytes, 1))
		}
	}
	for file, err := range h.faults {
		report.add(file, err.Error(), 0)
	}
}

func (w *wreck) merger() *merger { return newMerger(w.sources, w.gaps) }

// close closes the files, and reports the damage that reading them met.
func (w *wreck) close(report *Report) {
	for _, s := range w.tables {
		if lost, err := s.close(); err != nil {
			report.add(s.name, err.Error(), lost)
		}
	}
}

func (r *Report) add(file, reason string, lost int64) {
	r.Damage = append(r.Damage, Damage{file, reason, lost})
}

// missing adds the files that the manifest lists and that are not there.
func (r *Report) missing(m *manifest, names []string) {
	there := map[uint64]bool{}
	log := false
	for _, name := range names {
		num, kind := fileName(name)
		there[num] = there[num] || kind == "sst"
		log = log || kind == "log" && num >= m.minLog
	}
	for num, size := range m.tables {
		if !there[num] {
			r.add(fmt.Sprintf("%06d.sst", num), "missing", size)
		}
	}
	if !log {
		r.add(fmt.Sprintf("%06d.log", m.minLog), "missing, or a later one", 0)
	}
}

func (m *manifest) has(table uint64) bool {
	_, ok := m.tables[table]
	return ok
}

// size is the size of a table, or 0 if that is unknown.
func (m *manifest) size(table uint64) int64 {
	if m == nil {
		return 0
	}
	return m.tables[table]
}

// fileName is the number of a table or log, and which of both it is.
func fileName(name string) (num uint64, kind string) {
	digits, kind, _ := strings.Cut(name, ".")
	num, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, ""
	}
	return num, kind
}

// logReport logs what a salvage found.
func logReport(o Options, r *Report) {
	for _, d := range r.Damage {
		o.Log.Error("store: damage", "file", d.File, "reason", d.Reason, "lost_bytes", d.Lost)
	}
	o.Log.Error("store salvaged: the damaged database is kept in quarantine", "quarantine", r.Quarantine,
		"records_copied", r.Records, "lost_bytes", r.LostBytes)
}
