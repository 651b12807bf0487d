//go:build unix

package shell

import (
	"os"
	"os/signal"
	"syscall"
)

// onResize calls f whenever the terminal changes its size, until stop is
// called.
func onResize(f func()) (stop func()) {
	resized := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-resized:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		close(done)
	}
}

// enableANSI does nothing: terminals of Unix understand control sequences.
func enableANSI(*os.File) (undo func()) { return func() {} }
