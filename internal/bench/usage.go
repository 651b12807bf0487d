package bench

import (
	"errors"
	"os"
	"time"

	"midge/internal/proc"
)

// meter measures what a process uses over a stretch of time. Its zero value
// measures nothing.
type meter struct {
	pid     int
	start   time.Time
	cpu     time.Duration
	written int64
	silent  bool // where it can't measure, it returns nothing instead of an error
}

// selfMeter measures this process, as far as the system lets it.
func selfMeter() meter {
	m := meter{pid: os.Getpid(), silent: true}
	_ = m.restart() // silent
	return m
}

func (m *meter) restart() error {
	var err error
	if m.cpu, err = proc.CPU(m.pid); err != nil && !m.silent {
		return err
	}
	m.written, _ = proc.Written(m.pid) // another user's process doesn't tell
	m.start = time.Now()
	return nil
}

func (m *meter) read() Usage {
	if m.pid == 0 {
		return Usage{}
	}
	wall := time.Since(m.start)
	cpu, err := proc.CPU(m.pid)
	if err != nil {
		return Usage{}
	}
	u := Usage{CPUSeconds: (cpu - m.cpu).Seconds()}
	if wall > 0 {
		u.CPUPercent = 100 * u.CPUSeconds / wall.Seconds()
	}
	u.RSS, _ = proc.RSS(m.pid)
	u.Threads, _ = proc.Threads(m.pid)
	if written, err := proc.Written(m.pid); err == nil {
		u.WrittenBytes = written - m.written
	}
	return u
}

// openMeter begins to measure a broker; the error says why it can't.
func openMeter(pid int) (*meter, error) {
	m := &meter{pid: pid}
	_, rss := proc.RSS(pid)
	_, threads := proc.Threads(pid)
	return m, errors.Join(m.restart(), rss, threads)
}
