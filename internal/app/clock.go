package app

import (
	"time"

	"midge/internal/store"
)

// clocks reads the clocks of the process and of the machine.
func clocks(engine func() time.Duration) store.Clock {
	boot := bootName()
	return func() store.Reading {
		r := store.Reading{Engine: engine(), Wall: time.Now()}
		if up, ok := sinceBoot(); ok {
			r.Boot, r.Up = boot, up
		}
		return r
	}
}
