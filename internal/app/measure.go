package app

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"midge/internal/broker"
)

// measureEvery is how often the data directory is measured: about as often as
// $SYS is published.
const measureEvery = 5 * time.Second

// figures are the last measurement of a data directory.
type figures struct{ last atomic.Pointer[broker.Disk] }

func (f *figures) load() broker.Disk {
	if d := f.last.Load(); d != nil {
		return *d
	}
	return broker.Disk{}
}

// measure measures the directory again and again until ctx is cancelled. It has
// a goroutine of its own, since a disk that hangs would hang it too.
func (d *disk) measure(ctx context.Context) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.figures.last.Store(d.measured())
		case <-ctx.Done():
			return
		}
	}
}

func (d *disk) measured() *broker.Disk {
	st := d.backend.Stats()
	now := &broker.Disk{Bytes: st.DiskBytes, LogBytes: st.LogBytes}
	names, err := os.ReadDir(d.dir)
	if err != nil {
		d.log.Warn("measure the data directory", "error", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name.Name(), "quarantine-") {
			now.Quarantines++
		}
	}
	return now
}
