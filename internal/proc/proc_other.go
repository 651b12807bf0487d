//go:build !linux

package proc

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

func unmeasured(pid int) error {
	return fmt.Errorf("measure process %d: CPU time and memory of a process are read from /proc, which %s has not", pid, runtime.GOOS)
}

// CPU is an error here.
func CPU(pid int) (time.Duration, error) { return 0, unmeasured(pid) }

// RSS is an error here.
func RSS(pid int) (int64, error) { return 0, unmeasured(pid) }

// Memory is an error here.
func Memory(pid int, _ string) (int64, error) { return 0, unmeasured(pid) }

// Threads is an error here.
func Threads(pid int) (int, error) { return 0, unmeasured(pid) }

// Written is an error here.
func Written(pid int) (int64, error) { return 0, unmeasured(pid) }

// OpenFiles is an error here.
func OpenFiles(pid int) (int, error) { return 0, unmeasured(pid) }

// OwnOpenFiles is what systems without /proc usually allow after Go has raised
// the soft limit.
func OwnOpenFiles() (int, error) { return 10_000, nil }

// LocalPorts is what Linux has.
func LocalPorts() int { return defaultPorts }

// Kernel is not known here.
func Kernel() string { return "" }

// CPUModel is not known here.
func CPUModel() string { return "" }

// LoadAverage is not known here.
func LoadAverage() string { return "" }

// Listener finds no process: only Linux tells whose a socket is.
func Listener(netip.AddrPort) (pid int, ok bool) { return 0, false }
