//go:build linux

package main

import (
	"os"
	"time"

	"midge/bench/internal/harness"
)

// meter measures the broker and the generator over a stretch of time.
type meter struct {
	broker    int // process id
	start     time.Time
	brokerCPU time.Duration
	selfCPU   time.Duration
	written   int64
}

// spent is what a meter has measured since it was started.
type spent struct {
	wall, broker, self time.Duration
	written            int64 // bytes, by the broker to files
}

func (m *meter) restart() error {
	var err error
	if m.brokerCPU, err = harness.CPUTime(m.broker); err != nil {
		return err
	}
	if m.selfCPU, err = harness.CPUTime(os.Getpid()); err != nil {
		return err
	}
	if m.written, err = harness.WrittenBytes(m.broker); err != nil {
		return err
	}
	m.start = time.Now()
	return nil
}

func (m *meter) read() (spent, error) {
	wall := time.Since(m.start)
	broker, err := harness.CPUTime(m.broker)
	if err != nil {
		return spent{}, err
	}
	self, err := harness.CPUTime(os.Getpid())
	if err != nil {
		return spent{}, err
	}
	written, err := harness.WrittenBytes(m.broker)
	return spent{wall, broker - m.brokerCPU, self - m.selfCPU, written - m.written}, err
}
