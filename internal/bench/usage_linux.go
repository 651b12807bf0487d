package bench

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// processCPU returns the CPU time, user and system, of all threads of a
// process, ended ones included. It reads the process's CPU clock, which counts
// nanoseconds where /proc/PID/stat counts ticks.
func processCPU(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	clock := int32(^pid)<<3 | schedClock
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// processRSS returns the resident memory of a process in bytes, from
// smaps_rollup, which is exact where statm is not; statm serves where
// smaps_rollup can't be read.
func processRSS(pid int) (int64, error) {
	if kB, err := processField(pid, "smaps_rollup", "Rss:"); err == nil {
		return kB << 10, nil
	}
	kB, err := processField(pid, "status", "VmRSS:")
	return kB << 10, err
}

func processThreads(pid int) (int, error) {
	n, err := processField(pid, "status", "Threads:")
	return int(n), err
}

// processWritten returns how much a process has written to files, counted
// when it dirtied the page cache.
func processWritten(pid int) (int64, error) {
	return processField(pid, "io", "write_bytes:")
}

// processField reads the number behind key in a file of /proc/PID.
func processField(pid int, file, key string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, fmt.Errorf("measure process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, key)
		if !found {
			continue
		}
		var n int64
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return 0, fmt.Errorf("measure process %d: %s of %s: %w", pid, key, file, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("measure process %d: no %s in %s", pid, key, file)
}

// openFiles returns the soft limit of open files of a process.
func openFiles(pid int) (int, error) {
	n, err := processField(pid, "limits", "Max open files")
	return int(n), err
}

// ownOpenFiles is openFiles of this process.
func ownOpenFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// localPorts is how many ports the system has for outgoing connections of one
// address to one target.
func localPorts() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	var low, high int
	if err == nil {
		_, err = fmt.Sscan(string(text), &low, &high)
	}
	if err != nil {
		return defaultPorts
	}
	return high - low + 1
}

// exactTimers makes waits of this thread end when they are due, instead of
// 50 µs later.
func exactTimers() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0)
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return ""
}
