//go:build unix

// Package terminal runs a program in a window of tmux for tests: it types keys
// and reads the screen, as a user would.
package terminal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. A test that needs it
// has failed.
const patience = 5 * time.Minute

// Window is a window of tmux.
type Window struct {
	t      *testing.T
	socket string
	output chan struct{} // something was printed
}

// Open runs a command line of sh in a window of that size until the test ends.
// When the command has ended, the window shows "STATUS " and its exit status.
func Open(t *testing.T, width, height int, command string) *Window {
	t.Helper()
	dir := t.TempDir()
	w := &Window{t: t, socket: filepath.Join(dir, "tmux"), output: make(chan struct{}, 1)}
	fifo := filepath.Join(dir, "output")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// The shell of the window waits for a line, so that nothing is printed
	// before somebody listens.
	w.tmux("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height),
		"read line; "+command+"; echo STATUS $?; read line")
	t.Cleanup(func() { w.tmux("kill-server") })
	w.tmux("pipe-pane", "cat > "+fifo)
	pipe, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer pipe.Close()
		for buf := make([]byte, 4096); ; {
			if n, err := pipe.Read(buf); n == 0 || err != nil {
				return
			}
			select {
			case w.output <- struct{}{}:
			default:
			}
		}
	}()
	w.Keys("Enter")
	return w
}

func (w *Window) tmux(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", w.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("tmux %s: %v\n%s(test/install-tools installs it)", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Keys types keys, such as Enter and C-c; others are text.
func (w *Window) Keys(keys ...string) {
	w.t.Helper()
	w.tmux(append([]string{"send-keys"}, keys...)...)
}

// Resize gives the window another size.
func (w *Window) Resize(width, height int) {
	w.t.Helper()
	w.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// Screen is what the window shows, without empty lines at the end.
func (w *Window) Screen() string {
	w.t.Helper()
	return strings.TrimRight(w.tmux("capture-pane", "-p"), "\n")
}

// Until waits until the screen is as is wants it, and returns it.
func (w *Window) Until(what string, is func(screen string) bool) string {
	w.t.Helper()
	limit := time.After(patience)
	for {
		screen := w.Screen()
		if is(screen) {
			return screen
		}
		select {
		case <-w.output:
		case <-limit:
			w.t.Fatalf("the screen is\n%s\nand not: %s", screen, what)
		}
	}
}

// Shows waits until the screen has all of texts.
func (w *Window) Shows(texts ...string) string {
	w.t.Helper()
	return w.Until(fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// Ends waits until the screen ends with text.
func (w *Window) Ends(text string) {
	w.t.Helper()
	w.Until("one that ends with "+text, func(screen string) bool { return strings.HasSuffix(screen, text) })
}
