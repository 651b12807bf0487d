package pebblestore

import "time"

// Stats are figures for operators.
type Stats struct {
	DiskBytes int64         // all files of the database
	LogBytes  int64         // of them, the log: what a start has to read again
	Files     int64         // tables
	CacheHits int64         // blocks found in the cache
	CacheMiss int64         // blocks read from disk
	Commits   int64         // since the start
	Syncs     int64         // of them, those that waited for the disk
	LastSync  time.Duration // what the last one of them took
	Failure   error         // why the store takes no changes any more; nil if it does
}

// Stats returns figures about the store. After a failure only those that need
// no help of Pebble are there.
func (s *Store) Stats() Stats {
	st := Stats{
		Commits:  s.commits.Load(),
		Syncs:    s.syncs.Load(),
		LastSync: time.Duration(s.lasted.Load()),
		Failure:  s.disk.failure(),
	}
	if st.Failure != nil || s.enter() != nil {
		return st
	}
	defer s.leave()
	m := s.db.Metrics()
	st.DiskBytes = int64(m.DiskSpaceUsage())
	st.LogBytes = int64(m.WAL.Size)
	st.Files = m.Total().TablesCount
	st.CacheHits, st.CacheMiss = m.BlockCache.Hits, m.BlockCache.Misses
	return st
}
