//go:build linux

package harness

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// CPUTime returns the CPU time, user and system, that the process has used with all its threads, ended ones included.
// It reads the process's CPU clock, which counts nanoseconds where /proc/PID/stat counts ticks.
func CPUTime(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	clock := int32(^pid)<<3 | schedClock
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("read CPU clock of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// ResidentBytes returns the resident memory of a process, from smaps_rollup, which is exact where statm is not.
func ResidentBytes(pid int) (int64, error) {
	kB, err := procField(pid, "smaps_rollup", "Rss:")
	return kB << 10, err
}

// WrittenBytes returns how much the process has written to files on disk, counted when it dirtied the page cache.
func WrittenBytes(pid int) (int64, error) {
	return procField(pid, "io", "write_bytes:")
}

// procField reads the number behind key in a file of /proc/PID.
func procField(pid int, file, key string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, fmt.Errorf("read %s of process %d: %w", file, pid, err)
	}
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, key)
		if !found {
			continue
		}
		var n int64
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return 0, fmt.Errorf("read %s of process %d: %w", file, pid, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("read %s of process %d: no %s", file, pid, key)
}

// DirBytes returns the size of all files in dir and below. Files may come and go meanwhile.
func DirBytes(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", dir, err)
	}
	return sum, nil
}
