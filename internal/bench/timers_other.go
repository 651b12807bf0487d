//go:build !linux

package bench

// exactTimers does nothing: only Linux makes timers late on purpose.
func exactTimers() {}
