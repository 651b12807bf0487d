package proc

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// CPU returns the CPU time, user and system, of all threads of a process, ended
// ones included. It reads the process's CPU clock, which counts nanoseconds
// where /proc/PID/stat counts ticks.
func CPU(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	clock := int32(^pid)<<3 | schedClock
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// RSS returns the resident memory of a process in bytes, from smaps_rollup,
// which is exact where status is not; status serves where smaps_rollup can't be
// read.
func RSS(pid int) (int64, error) {
	if kB, err := field(pid, "smaps_rollup", "Rss:"); err == nil {
		return kB << 10, nil
	}
	return Memory(pid, "VmRSS")
}

// Memory returns a field of a process's status in bytes, such as VmHWM, the
// highest that resident memory has been, or RssAnon, the part that is no file.
func Memory(pid int, name string) (int64, error) {
	kB, err := field(pid, "status", name+":")
	return kB << 10, err
}

// Threads returns the number of threads of a process.
func Threads(pid int) (int, error) {
	n, err := field(pid, "status", "Threads:")
	return int(n), err
}

// Written returns how many bytes a process has written to files, counted when
// it dirtied the page cache.
func Written(pid int) (int64, error) { return field(pid, "io", "write_bytes:") }

// OpenFiles returns the soft limit of open files of a process.
func OpenFiles(pid int) (int, error) {
	n, err := field(pid, "limits", "Max open files")
	return int(n), err
}

// field reads the number behind key in a file of /proc/PID.
func field(pid int, file, key string) (int64, error) {
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

// OwnOpenFiles is OpenFiles of this process.
func OwnOpenFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// LocalPorts is how many ports the system has for outgoing connections of one
// address to one target.
func LocalPorts() int {
	var low, high int
	if _, err := fmt.Sscan(machine("sys/net/ipv4/ip_local_port_range"), &low, &high); err != nil {
		return defaultPorts
	}
	return high - low + 1
}

// Kernel is the release of the kernel.
func Kernel() string { return strings.TrimSpace(machine("sys/kernel/osrelease")) }

// CPUModel is the name of the processor.
func CPUModel() string {
	for line := range strings.Lines(machine("cpuinfo")) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return ""
}

// LoadAverage is how busy the machine has been for one, five and fifteen
// minutes.
func LoadAverage() string {
	f := strings.Fields(machine("loadavg"))
	return strings.Join(f[:min(len(f), 3)], " ")
}

// machine is what a file of /proc says; empty if it can't be read.
func machine(file string) string {
	text, _ := os.ReadFile("/proc/" + file) // an error leaves nothing
	return string(text)
}
