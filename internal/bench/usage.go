package bench

import (
	"context"
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

// privateMemory is a process's resident memory without the pages of files, such as its
// program: those come and go with what it does, not with its clients. Where the system
// doesn't tell, it is all resident memory.
func privateMemory(pid int) (int64, error) {
	if n, err := proc.Memory(pid, "RssAnon"); err == nil && n > 0 {
		return n, nil
	}
	return proc.RSS(pid)
}

const (
	// memoryRest is how long memory must not have fallen for it to be at rest: longer than
	// a runtime takes to find out that there is nothing to do.
	memoryRest = 2 * time.Second

	// memoryEvery is how often it is looked at.
	memoryEvery = 100 * time.Millisecond
)

// leastMemory returns what read does when that has not fallen for memoryRest, or when the limit
// is over.
func leastMemory(ctx context.Context, read func() (int64, error), limit time.Duration) (int64, error) {
	least, err := read()
	begun := time.Now()
	for fell := begun; err == nil && time.Since(fell) < memoryRest && time.Since(begun) < limit; {
		select {
		case <-ctx.Done():
			return least, nil // the interruption is dealt with by who follows
		case <-time.After(memoryEvery):
		}
		var now int64
		if now, err = read(); err == nil && now < least {
			least, fell = now, time.Now()
		}
	}
	return least, err
}

// openMeter begins to measure a broker; the error says why it can't.
func openMeter(pid int) (*meter, error) {
	m := &meter{pid: pid}
	_, rss := proc.RSS(pid)
	_, threads := proc.Threads(pid)
	return m, errors.Join(m.restart(), rss, threads)
}
