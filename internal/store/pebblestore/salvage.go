package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A salvage copies db to db.salvage, and then renames db to a quarantine and
// db.salvage to db. So db.salvage beside db is unfinished, and db.salvage alone is
// finished.

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
		if d.ballast.isScarce() {
			removeLeftovers(d, path)
		}
		db, scheduler, err := openPebble(d, path, o)
		if err == nil {
			return db, scheduler, nil
		}
		if isNewerPebble(err) {
			return nil, nil, fmt.Errorf("%w: %w", ErrNewer, err)
		}
		if d.failure() != nil || !isDamage(err) {
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

// finishSalvage completes what a crash interrupted: it removes an unfinished copy,
// or puts a finished one in its place.
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
		if strings.HasPrefix(name, quarantinePrefix) && name > report.Quarantine {
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
		if hole.isDamage(h.synced) {
			return fmt.Errorf("%s: records are missing that were on disk", hole.file)
		}
	}
	return nil
}

// salvage copies everything that can be read of the database to a new one, and
// puts that in its place. The copy is in the directory for good before the
// renames: see openPebble.
func salvage(d *disk, dir string, o Options, report *Report) error {
	from, to := d.PathJoin(dir, dbName), d.PathJoin(dir, salvageName)
	if err := d.RemoveAll(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	damaged := openDamaged(d, from, report)
	records, err := copyTo(d, to, o, damaged.merger())
	damaged.close(report)
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

// damagedDB is a damaged database, open for reading.
type damagedDB struct {
	tables     []*tableSource
	sources    []source
	tombstones []tombstone
}

// openDamaged opens the files of a damaged database. Those that the manifest
// does not list are left out: they hold what was replaced since. Without a
// manifest that can be read all files count.
func openDamaged(fs vfs.FS, path string, report *Report) *damagedDB {
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
		report.add(file, "the manifest cannot be read, so that deleted records may be back: "+err.Error(), 0)
		m = nil
	}
	db := &damagedDB{}
	for _, name := range names {
		if num, kind := parseFileName(name); kind == "sst" && (m == nil || m.has(num)) {
			db.addTable(fs, path, name, m.size(num), report)
		}
	}
	db.addLogs(fs, path, names, m, report)
	if m != nil {
		report.addMissing(m, names)
	}
	return db
}

func (db *damagedDB) addTable(fs vfs.FS, path, name string, size int64, report *Report) {
	s, tombstones, err := newTableSource(fs, path, name)
	if err != nil {
		if info, err := fs.Stat(fs.PathJoin(path, name)); err == nil {
			size = max(size, info.Size())
		}
		report.add(name, err.Error(), size)
		return
	}
	db.tables = append(db.tables, s)
	db.sources = append(db.sources, s)
	db.tombstones = append(db.tombstones, tombstones...)
}

// addLogs reads the changes of the logs into memory, up to the first hole that a
// crash explains: what follows that was never acknowledged, and lacks what it
// builds on.
func (db *damagedDB) addLogs(fs vfs.FS, path string, names []string, m *manifest, report *Report) {
	h := readHistory(fs, path, names, m)
	for _, name := range h.logs {
		s := &logSource{}
		h.read(fs, path, name, func(record []byte, _ skipped) error {
			if !h.counts(record) {
				return nil
			}
			if err := s.add(record); err != nil {
				report.add(name, err.Error(), int64(len(record)))
			}
			return nil
		})
		s.sort()
		db.sources = append(db.sources, s)
		db.tombstones = append(db.tombstones, s.tombstones...)
	}
	for _, hole := range h.holes {
		if hole.isDamage(h.synced) {
			report.add(hole.file, hole.String(), max(hole.skipped.bytes, 1))
		}
	}
	for file, err := range h.faults {
		report.add(file, err.Error(), 0)
	}
}

func (db *damagedDB) merger() *merger { return newMerger(db.sources, db.tombstones) }

// close closes the files, and reports the damage that reading them met.
func (db *damagedDB) close(report *Report) {
	for _, s := range db.tables {
		if lost, err := s.close(); err != nil {
			report.add(s.name, err.Error(), lost)
		}
	}
}

func (r *Report) add(file, reason string, lost int64) {
	r.Damage = append(r.Damage, Damage{file, reason, lost})
}

// addMissing adds the files that the manifest lists and that do not exist.
func (r *Report) addMissing(m *manifest, names []string) {
	exists := map[uint64]bool{}
	log := false
	for _, name := range names {
		num, kind := parseFileName(name)
		exists[num] = exists[num] || kind == "sst"
		log = log || kind == "log" && num >= m.minLog
	}
	for num, size := range m.tables {
		if !exists[num] {
			r.add(fmt.Sprintf("%06d.sst", num), "missing", size)
		}
	}
	if !log {
		r.add(fmt.Sprintf("%06d.log", m.minLog), "missing, or a later one", 0)
	}
}

// logReport logs what a salvage found.
func logReport(o Options, r *Report) {
	for _, d := range r.Damage {
		o.Log.Error("store: damage", "file", d.File, "reason", d.Reason, "lost_bytes", d.Lost)
	}
	o.Log.Error("store salvaged: the damaged database is kept in quarantine", "quarantine", r.Quarantine,
		"records_copied", r.Records, "lost_bytes", r.LostBytes)
}
