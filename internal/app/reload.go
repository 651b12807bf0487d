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
	access, err := b.access.next(now, b.log)
	if err != nil {
		r.failed.Add(1)
		return err
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
	r.inForce = now
	r.done.Add(1)
	if len(changes) == 0 {
		access.close(b.access)
		return nil
	}
	b.followAccess(access)
	files := b.shareFiles(now.Limits.Connections)
	if files.warning != "" {
		b.log.Warn(files.warning)
	}
	b.followProxies(now)
	b.core.Apply(b.coreSettings(now, files.connections))
	return nil
}
