package pebblestore

import (
	"encoding/json"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
)

// recordsName is the file with damaged records in a quarantine: a JSON object in
// each line. docs/format/store.md describes it.
const recordsName = "records.jsonl"

// Quarantine writes damaged records to a file in a new quarantine: see
// store.Backend.
func (s *Store) Quarantine(records []store.Damaged) error {
	if err := s.enter(); err != nil {
		return s.wrap("quarantine damaged records", err)
	}
	defer s.leave()
	s.quarantining.Lock() // the name of a quarantine is found by looking
	defer s.quarantining.Unlock()
	name, err := s.writeQuarantine(records)
	if err != nil {
		return s.wrap("quarantine damaged records", err)
	}
	s.log.Error("damaged records were quarantined: what they held is lost to the broker", "records", len(records), "file", name)
	return nil
}

func (s *Store) writeQuarantine(records []store.Damaged) (name string, err error) {
	d := s.disk
	dir := newQuarantine(d, s.dir, s.now())
	if err := d.MkdirAll(dir, dirMode); err != nil {
		return "", err
	}
	name = d.PathJoin(dir, recordsName)
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", err
	}
	e := json.NewEncoder(f)
	for _, r := range records {
		err = errors.Join(err, e.Encode(struct {
			Key, Value []byte
			Error      string
		}{r.Key, r.Value, r.Err.Error()}))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	// The file in its directory, and that in the user's.
	return name, errors.Join(d.syncDir(dir), d.syncDir(s.dir))
}
