package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// manifest is what Pebble's list of its files says: which tables hold data, and
// which logs are not in tables yet. All other files are left over, and hold
// what has been replaced or deleted since.
type manifest struct {
	file   string
	tables map[uint64]int64 // the sizes by number
	minLog uint64           // logs before this one are in tables
	next   uint64           // sequence numbers before it were in use when the last edit was written
}

// readManifest reads the manifest of a database. An error means that it cannot be
// trusted.
func readManifest(fs vfs.FS, dir string, names []string) (*manifest, error) {
	m := &manifest{file: manifestName(fs, dir, names), tables: map[uint64]int64{}}
	if m.file == "" {
		return nil, errors.New("no MANIFEST")
	}
	f, err := fs.Open(fs.PathJoin(dir, m.file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	live := map[levelTable]uint64{}
	records := 0
	tail, _, err := readLog(f, 0, func(record []byte, before skipped) error {
		if before.bytes > 0 {
			return fmt.Errorf("%w at byte %d", errDamage, before.at)
		}
		records++
		return m.apply(&edit{b: record}, live)
	})
	if err == nil && records == 0 {
		err = errors.New("empty")
	}
	if err != nil {
		return m, err
	}
	sizes := m.tables
	m.tables = map[uint64]int64{}
	for _, table := range live {
		m.tables[table] = sizes[table]
	}
	if tail.bytes > 0 {
		return m, m.checkTail(tail, names)
	}
	return m, nil
}

// checkTail judges an end that cannot be read. A crash may have cut off an edit
// that was being written; but when there are tables that the manifest does not
// have, that edit may have been the one that added them, and their logs are gone.
func (m *manifest) checkTail(tail skipped, names []string) error {
	for _, name := range names {
		if num, kind := parseFileName(name); kind == "sst" && !m.has(num) {
			return fmt.Errorf("%w at byte %d, and %s is not in it", errDamage, tail.at, name)
		}
	}
	return nil
}

// errDamage says that edits of a manifest are missing.
var errDamage = errors.New("damaged")

// manifestName is the manifest that the marker names, or the newest one there
// is.
func manifestName(fs vfs.FS, dir string, names []string) string {
	if name, err := atomicfs.ReadMarker(fs, dir, "manifest"); err == nil && name != "" {
		return name
	}
	return newestName(names, "MANIFEST-")
}

// levelTable is a table at a level. A table that moves is there twice for a
// while.
type levelTable struct{ level, num uint64 }

// edit is a record of a manifest: numbers and byte strings behind tags.
type edit struct {
	b   []byte
	err error
}

func (e *edit) number() uint64 {
	v, n := binary.Uvarint(e.b)
	if n <= 0 {
		e.b, e.err = nil, errors.New("a record ends early")
		return 0
	}
	e.b = e.b[n:]
	return v
}

func (e *edit) skip() {
	n := e.number()
	if n > uint64(len(e.b)) {
		e.b, e.err = nil, errors.New("a record ends early")
		return
	}
	e.b = e.b[n:]
}

func (e *edit) byte() byte {
	if len(e.b) == 0 {
		e.err = errors.New("a record ends early")
		return 0
	}
	c := e.b[0]
	e.b = e.b[1:]
	return c
}

// The tags of Pebble's version edits, as far as this version of the store lets
// Pebble write them.
const (
	tagComparator    = 1
	tagMinLog        = 2
	tagNextFile      = 3
	tagLastSeq       = 4
	tagCompactPtr    = 5
	tagDeletedTable  = 6
	tagPrevLog       = 9
	tagNewTable2     = 100
	tagNewTable4     = 103
	tagNewTable5     = 104
	tagNewBacking    = 105
	tagRemoveBacking = 106
	fieldEnd         = 1
	fieldVirtual     = 66
	fieldBlobs       = 69
)

// apply applies one edit.
func (m *manifest) apply(e *edit, live map[levelTable]uint64) error {
	for len(e.b) > 0 && e.err == nil {
		switch tag := e.number(); tag {
		case tagComparator:
			e.skip()
		case tagMinLog:
			m.minLog = e.number()
		case tagLastSeq:
			m.next = e.number() + 1
		case tagNextFile, tagPrevLog, tagRemoveBacking:
			e.number()
		case tagCompactPtr, tagNewBacking:
			e.number()
			if tag == tagCompactPtr {
				e.skip()
			} else {
				e.number()
			}
		case tagDeletedTable:
			level, num := e.number(), e.number()
			delete(live, levelTable{level, num})
		case tagNewTable2, tagNewTable4, tagNewTable5:
			m.addTable(e, tag, live)
		default:
			return fmt.Errorf("unknown tag %d", tag)
		}
	}
	return e.err
}

// addTable adds a table.
func (m *manifest) addTable(e *edit, tag uint64, live map[levelTable]uint64) {
	level, num, size := e.number(), e.number(), e.number()
	points := true
	if tag == tagNewTable5 {
		points = e.byte()&1 != 0
		if points {
			e.skip()
			e.skip()
		}
	}
	e.skip() // smallest and largest key
	e.skip()
	e.number() // smallest and largest sequence number
	e.number()
	backing := num
	for tag != tagNewTable2 && e.err == nil {
		field := e.number()
		if field == fieldEnd {
			break
		}
		switch field {
		case fieldVirtual:
			backing = e.number()
		case fieldBlobs:
			e.err = errors.New("values separate from their keys")
		default:
			e.skip()
		}
	}
	live[levelTable{level, num}] = backing
	m.tables[backing] = int64(size)
}

// has reports whether a table is in the manifest.
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
