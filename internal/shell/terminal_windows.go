package shell

import (
	"os"

	"golang.org/x/sys/windows"
)

// onResize does nothing: Windows has no signal for it.
func onResize(func()) (stop func()) { return func() {} }

// enableANSI has the console interpret control sequences, until undo is
// called. A console that can't is left as it is.
func enableANSI(out *os.File) (undo func()) {
	console := windows.Handle(out.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return func() {}
	}
	// Without it the text is less pretty, and still there.
	_ = windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	return func() { _ = windows.SetConsoleMode(console, mode) }
}
