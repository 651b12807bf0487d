package bench

import (
	"errors"
	"os"
	"time"
)

// defaultPorts is the number of ports for outgoing connections that Linux has
// if nobody changed it: 32768 to 60999.
const defaultPorts = 28232

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
	if m.cpu, err = processCPU(m.pid); err != nil && !m.silent {
		return err
	}
	m.written, _ = processWritten(m.pid) // another user's process doesn't tell
	m.start = time.Now()
	return nil
}

func (m *meter) read() Usage {
	if m.pid == 0 {
		return Usage{}
	}
	wall := time.Since(m.start)
	cpu, err := processCPU(m.pid)
	if err != nil {
		return Usage{}
	}
	u := Usage{CPUSeconds: (cpu - m.cpu).Seconds()}
	if wall > 0 {
		u.CPUPercent = 100 * u.CPUSeconds / wall.Seconds()
	}
	u.RSS, _ = processRSS(m.pid)
	u.Threads, _ = processThreads(m.pid)
	if written, err := processWritten(m.pid); err == nil {
		u.WrittenBytes = written - m.written
	}
	return u
}

// openMeter begins to measure a broker; the error says why it can't.
func openMeter(pid int) (*meter, error) {
	m := &meter{pid: pid}
	_, rss := processRSS(pid)
	_, threads := processThreads(pid)
	return m, errors.Join(m.restart(), rss, threads)
}
