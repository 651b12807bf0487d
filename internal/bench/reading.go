package bench

import "time"

// readPause is how long nobody reads retained messages before the first reading
// and between two of them, so that the others' latency can be told apart.
const readPause = time.Second

// retaining is what the worker knows of the retained messages of a run. One
// client lays them down before anybody publishes. Readers ask for all of them at
// the same time, by a SUBSCRIBE that is repeated.
type retaining struct {
	by          *client // who lays them down
	sent, acked int     // of those that it publishes
	readers     []*client
	topic       []byte // memory

	reading int           // readers that have not got them all
	begun   time.Duration // when the readers asked, and
	ended   time.Duration // when the last of them had all
}

// reading is how far a reader is.
type reading struct {
	on  bool
	got bitset
}

// hasRead is what follows when a reader has all, or is gone.
func (w *worker) hasRead(c *client, now time.Duration) {
	r := &w.retained
	c.read.on = false
	if r.reading--; r.reading == 0 {
		r.ended = now
		w.out.ReadTime += now - r.begun
	}
}

// whileReading reports whether somebody read retained messages between the time
// that a message was due and now.
func (w *worker) whileReading(due time.Duration) bool {
	return w.retained.reading > 0 || due < w.retained.ended
}

// unread is how many retained messages a reader is still to get.
func (w *worker) unread(c *client) uint64 {
	if c.read == nil || !c.read.on {
		return 0
	}
	return uint64(w.s.Retained) - uint64(c.read.got.unique)
}
