//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outlived catches the signals that a broker only takes note of: SIGHUP comes
// when a terminal is closed, or from logrotate, and the others from whoever
// knows them of other programs. Go's runtime ignores the rest of this kind, and
// answers SIGQUIT with a dump and the end.
func outlived() <-chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return signals
}
