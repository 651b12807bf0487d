package store

import (
	"sync"
	"sync/atomic"
)

// Health says whether anything can become durable at present. A backend
// reports to it from the moment it opens, which may be before there is a Store;
// the Store on that backend has it in its Config. The zero value is healthy.
// Safe for use by several goroutines.
type Health struct {
	// Changed, unless nil, is called after each report, on the goroutine that
	// makes it. It is set before the first one.
	Changed func()

	mu     sync.Mutex // one report at a time
	err    atomic.Pointer[error]
	failed atomic.Bool
}

// Report notes why nothing becomes durable: the disk is full, or has failed.
// nil says that all is well again. After a failure for good it changes nothing.
func (h *Health) Report(err error) {
	h.mu.Lock()
	if !h.failed.Load() {
		h.err.Store(&err)
	}
	h.mu.Unlock()
	h.changed()
}

// fail notes that the disk has failed for good, and reports whether that is
// news.
func (h *Health) fail(err error) bool {
	h.mu.Lock()
	news := !h.failed.Swap(true)
	if news {
		h.err.Store(&err)
	}
	h.mu.Unlock()
	if news {
		h.changed()
	}
	return news
}

func (h *Health) changed() {
	if h.Changed != nil {
		h.Changed()
	}
}

// Err is the reason why nothing becomes durable at present, nil while all is
// well.
func (h *Health) Err() error {
	if err := h.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Failed reports whether the disk has failed for good: what is submitted then
// becomes durable only after the process has been started again.
func (h *Health) Failed() bool { return h.failed.Load() }
