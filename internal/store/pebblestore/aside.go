package pebblestore

import (
	"encoding/json"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/store"
)

// asideName is the file with damaged records in a quarantine: a JSON object in
// each line. docs/format/store.md describes it.
const asideName = "records.jsonl"

// SetAside writes damaged records to a file in a new quarantine: see
// store.Backend.
func (s *Store) SetAside(records []store.Damaged) error {
	if err := s.enter(); err != nil {
		return s.fault("set damaged records aside", err)
	}
	defer s.leave()
	s.aside.Lock() // the name of a quarantine is found by looking
	defer s.aside.Unlock()
	name, err := s.setAside(records)
	if err != nil {
		return s.fault("set damaged records aside", err)
	}
	s.log.Error("damaged records were set aside: what they held is lost to the broker", "records", len(records), "file", name)
	return nil
}

func (s *Store) setAside(records []store.Damaged) (name string, err error) {
	d := s.disk
	dir := newQuarantine(d, s.dir, s.now())
	if err := d.MkdirAll(dir, dirMode); err != nil {
		return "", err
	}
	name = d.PathJoin(dir, asideName)
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
