package bench

import "syscall"

// exactTimers makes waits of this thread end when they are due, instead of
// 50 µs later.
func exactTimers() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0)
}
