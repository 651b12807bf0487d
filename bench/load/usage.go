//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuTime returns the CPU time, user and system, that the process has used with all its threads, ended ones included.
// It reads the process's CPU clock, which counts nanoseconds where /proc/PID/stat counts ticks.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	clock := int32(^pid)<<3 | schedClock
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("read CPU clock of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// meter measures the CPU time of the broker and of the generator over a stretch of time.
type meter struct {
	broker    int // process id
	start     time.Time
	brokerCPU time.Duration
	selfCPU   time.Duration
}

// spent is what a meter has measured since it was started.
type spent struct{ wall, broker, self time.Duration }

func (m *meter) restart() error {
	var err error
	if m.brokerCPU, err = cpuTime(m.broker); err != nil {
		return err
	}
	if m.selfCPU, err = cpuTime(os.Getpid()); err != nil {
		return err
	}
	m.start = time.Now()
	return nil
}

func (m *meter) read() (spent, error) {
	wall := time.Since(m.start)
	broker, err := cpuTime(m.broker)
	if err != nil {
		return spent{}, err
	}
	self, err := cpuTime(os.Getpid())
	return spent{wall, broker - m.brokerCPU, self - m.selfCPU}, err
}

// residentBytes returns the resident memory of a process, from smaps_rollup, which is exact where statm is not.
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var kB int64
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kB); n == 1 {
			return kB << 10, nil
		}
	}
	return 0, fmt.Errorf("read resident memory: no Rss for process %d", pid)
}
