package pebblestore

import "time"

// Stats are figures for operators.
type Stats struct {
	DiskBytes int64         // all files of the database
	LogBytes  int64         // of them, the log: what a start has to read again
	Files     int64         // tables
	Commits   int64         // since the start
	Syncs     int64         // of them, those that waited for the disk
	LastSync  time.Duration // what the last one of them took
	Failure   error         // why the store takes no changes any more; nil if it does
}

// Stats returns figures about the store. It asks the file system rather than
// Pebble, whose own figures wait for the disk when that is full.
func (s *Store) Stats() Stats {
	st := Stats{
		Commits:  s.commits.Load(),
		Syncs:    s.syncs.Load(),
		LastSync: time.Duration(s.lastSync.Load()),
		Failure:  s.disk.failure(),
	}
	files := s.disk.FS
	path := files.PathJoin(s.dir, dbName)
	names, err := files.List(path)
	if err != nil {
		return st // there are no figures then
	}
	for _, name := range names {
		info, err := files.Stat(files.PathJoin(path, name))
		if err != nil || info.IsDir() {
			continue // removed meanwhile
		}
		st.DiskBytes += info.Size()
		switch _, kind := parseFileName(name); kind {
		case "log":
			st.LogBytes += info.Size()
		case "sst":
			st.Files++
		}
	}
	return st
}
