//go:build !linux

package bench

import (
	"fmt"
	"runtime"
	"time"
)

func unmeasured(pid int) error {
	return fmt.Errorf("measure process %d: CPU time and memory of a broker are read from /proc, which %s has not; leave out --pid", pid, runtime.GOOS)
}

func processCPU(pid int) (time.Duration, error) { return 0, unmeasured(pid) }
func processRSS(pid int) (int64, error)         { return 0, unmeasured(pid) }
func processThreads(pid int) (int, error)       { return 0, unmeasured(pid) }
func processWritten(pid int) (int64, error)     { return 0, unmeasured(pid) }
func openFiles(pid int) (int, error)            { return 0, unmeasured(pid) }

// ownOpenFiles is what systems without /proc usually allow after Go has
// raised the soft limit.
func ownOpenFiles() (int, error) { return 10_000, nil }

func localPorts() int  { return defaultPorts }
func exactTimers()     {}
func kernel() string   { return "" }
func cpuModel() string { return "" }
