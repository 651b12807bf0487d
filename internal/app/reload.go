package app

import (
	"sync"
	"sync/atomic"

	"midge/internal/config"
)

// reloads is what the broker knows of the configurations that it was given while it
// runs.
type reloads struct {
	mu      sync.Mutex
	inForce *config.Loaded

	done   atomic.Uint64 // that were put in force
	failed atomic.Uint64 // with a fault

	brokenAccess atomic.Uint64 // files of authentication and access lists that could not be read again
}

// Ready is closed when the broker runs, so that Reload does something.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Reload reads the configuration again and puts in force what can change while the
// broker runs: all of it, or nothing if there is a fault. The log says what differs. It may
// be called from any goroutine once the broker runs.
func (b *Broker) Reload(read func() (*config.Loaded, error)) error {
	r := &b.reloads
	r.mu.Lock()
	defer r.mu.Unlock()
	if !b.started.Load() {
		return nil // what it starts with was just read
	}
	next, err := read()
	if err != nil {
		r.failed.Add(1)
		return err
	}
	now, changes := r.inForce.Follow(next)
	var t *turnover
	if len(changes) > 0 {
		if t, err = b.prepareTurnover(now); err != nil {
			r.failed.Add(1)
			return err
		}
	}
	for _, w := range next.Warnings {
		b.log.Warn("configuration", "detail", w)
	}
	for _, c := range changes {
		if c.Restart {
			b.log.Warn("setting changed", "detail", c.String())
		} else {
			b.log.Info("setting changed", "detail", c.String())
		}
	}
	if t != nil {
		files := b.shareFiles(now.Limits.Connections)
		if files.warning != "" {
			b.log.Warn(files.warning)
		}
		t.carryOut(files.connections)
	}
	r.inForce = now
	r.done.Add(1)
	return nil
}
