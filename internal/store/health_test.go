package store

import (
	"errors"
	"testing"
)

// TestHealth reports in every order: before there is a store, to it, and after
// it has failed for good.
func TestHealth(t *testing.T) {
	full, broken := errors.New("no room"), errors.New("broken")
	changes := 0
	h := &Health{Changed: func() { changes++ }}
	if h.Err() != nil || h.Failed() {
		t.Fatalf("at first: %v, failed %v", h.Err(), h.Failed())
	}
	h.Report(full)
	s := New(nil, Config{Shards: 1, Health: h})
	if s.Err() != full || s.Failed() || changes != 1 {
		t.Errorf("reported before there was a store: %v, failed %v, %d changes", s.Err(), s.Failed(), changes)
	}
	h.Report(nil)
	if s.Err() != nil || s.Failed() || changes != 2 {
		t.Errorf("all is well again: %v, failed %v, %d changes", s.Err(), s.Failed(), changes)
	}
	s.fail(broken)
	s.fail(full)
	if s.Err() != broken || !s.Failed() || changes != 3 {
		t.Errorf("failed: %v, failed %v, %d changes", s.Err(), s.Failed(), changes)
	}
	h.Report(nil)
	if s.Err() != broken || !s.Failed() {
		t.Errorf("the backend had room again after the store failed: %v, failed %v", s.Err(), s.Failed())
	}
}
