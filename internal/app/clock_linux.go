package app

import (
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// bootName names the start of the machine, "" if the kernel does not tell.
func bootName() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// sinceBoot is the time since the machine was started, with that in which it
// slept.
func sinceBoot() (up time.Duration, ok bool) {
	const clockBoottime = 7 // linux/time.h
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano()), errno == 0
}
