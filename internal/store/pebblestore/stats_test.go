package pebblestore_test

import (
	"testing"
)

func TestStats(t *testing.T) {
	watch(t)
	fs, _ := filled(t, true)
	s := open(t, "data", small(fs))
	defer s.Close()
	for range 3 {
		if err := s.Commit(true); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	if st.Commits != 3 || st.Syncs != 3 || st.LastSync <= 0 || st.Failure != nil {
		t.Errorf("three commits: %+v", st)
	}
	if st.Files == 0 || st.LogBytes <= 0 || st.LogBytes >= st.DiskBytes {
		t.Errorf("a store with tables and a log: %+v", st)
	}
}
