// Package sentry stands in for github.com/getsentry/sentry-go, the client of
// an error tracking service, which github.com/cockroachdb/errors imports.
//
// It has the types with which that library describes an error, and never
// sends one: CaptureEvent drops what it is given. Midge reports to nobody, so
// nothing calls it; but linked it would bring an HTTP client, tables of
// languages and text/template into the binary.
package sentry

// An Event describes an error.
type Event struct {
	Message    string
	ServerName string
	Exception  []Exception
	Tags       map[string]string
	Extra      map[string]any
}

// An Exception is one layer of the error that an Event describes.
type Exception struct {
	Module, Type, Value string
	Stacktrace          *Stacktrace
}

// A Stacktrace has the oldest call first.
type Stacktrace struct{ Frames []Frame }

// A Frame is one call of a Stacktrace.
type Frame struct {
	Module, Function  string
	Filename, AbsPath string
	Lineno            int
	InApp             bool
}

// EventID identifies an event that was sent.
type EventID string

// NewEvent returns an event to which tags and extra values can be added.
func NewEvent() *Event {
	return &Event{Tags: map[string]string{}, Extra: map[string]any{}}
}

// CaptureEvent drops the event, and returns nil, which stands for an event
// that was not sent.
func CaptureEvent(*Event) *EventID { return nil }
