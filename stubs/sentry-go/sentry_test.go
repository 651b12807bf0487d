package sentry

import "testing"

// TestEventTakesValues proves that the maps of a new event can be written, as
// cockroachdb/errors does, and that nothing counts as sent.
func TestEventTakesValues(t *testing.T) {
	e := NewEvent()
	e.Tags["report_type"] = "error"
	e.Extra["error types"] = "none"
	if id := CaptureEvent(e); id != nil {
		t.Errorf("sent as %s", *id)
	}
}
