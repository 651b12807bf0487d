//go:build integration && unix

package shell

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// terminal is a window of tmux in which a command runs.
type terminal struct {
	t      *testing.T
	socket string
	output chan struct{} // something was printed
}

// openTerminal runs a command line of sh in a window.
func openTerminal(t *testing.T, command string) *terminal {
	t.Helper()
	dir := t.TempDir()
	w := &terminal{t: t, socket: filepath.Join(dir, "tmux"), output: make(chan struct{}, 1)}
	fifo := filepath.Join(dir, "output")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// The shell of the window waits for a line, so that nothing is printed
	// before the pipe is there.
	w.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "read line; "+command+"; echo STATUS $?; read line")
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
	w.keys("Enter")
	return w
}

func (w *terminal) tmux(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", w.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("tmux %s: %v\n%s(test/install-tools installs it)", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys types keys, such as Enter and C-c; others are text.
func (w *terminal) keys(keys ...string) {
	w.t.Helper()
	w.tmux(append([]string{"send-keys"}, keys...)...)
}

// screen is what the window shows, without empty lines at the end.
func (w *terminal) screen() string {
	w.t.Helper()
	return strings.TrimRight(w.tmux("capture-pane", "-p"), "\n")
}

// shows waits until the screen ends with text.
func (w *terminal) shows(text string) {
	w.t.Helper()
	limit := time.After(patience)
	for {
		screen := w.screen()
		if strings.HasSuffix(screen, text) {
			return
		}
		select {
		case <-w.output:
		case <-limit:
			w.t.Fatalf("the screen is\n%s\nand doesn't end with\n%s", screen, text)
		}
	}
}

// TestTerminal is a session of a user, with Midge and with Mosquitto.
func TestTerminal(t *testing.T) {
	t.Run("midge", func(t *testing.T) { session(t, midgeBroker(t)) })
	t.Run("mosquitto", func(t *testing.T) {
		session(t, "mqtt://127.0.0.1:"+mosquittoBroker(t, "allow_anonymous true"))
	})
}

func session(t *testing.T, address string) {
	state := t.TempDir()
	command := "XDG_STATE_HOME=" + state + " NO_COLOR=1 " + binary + " shell -L " + address
	w := openTerminal(t, command)
	w.shows("'help' lists the commands, Tab completes, Ctrl-D ends.\nmidge>")
	w.keys("connec", "Tab", "alice", "Enter")
	w.shows("midge> connect alice\nalice: connected to " + address + ", MQTT 5.0, new session\nalice>")
	w.keys("sub room/#", "Enter")
	w.shows("alice: subscribed to room/#, QoS 0\nalice>")

	// A half-typed line survives what arrives, and so does the place of the
	// cursor in it.
	w.keys("pub room/kitchen 'half typed'", "Left", "Left", "Left", "Left", "Left", "Left")
	w.shows("alice> pub room/kitchen 'half typed'")
	publish(t, address, "pub room/bath one --qos 1 -D unit=C", `pub room/bath "two\nlines"`, `pub room/bath "\x1b[2Jthree"`)
	w.shows(`alice < room/bath (QoS 0, unit=C): one
alice < room/bath (QoS 0):
  two
  lines
alice < room/bath (QoS 0): "\x1b[2Jthree"
alice> pub room/kitchen 'half typed'`)
	w.keys("as it was ", "Enter")
	w.shows("alice> pub room/kitchen 'half as it was typed'\nalice: published to room/kitchen: 20 bytes, QoS 0\nalice < room/kitchen (QoS 0): half as it was typed\nalice>")

	// So does one that is longer than the screen is wide.
	long := strings.Repeat("0123456789", 10)
	w.keys("pub other " + long)
	w.shows("alice> pub other " + long[:63] + "\n" + long[63:])
	publish(t, address, "pub room/bath four")
	w.shows("\nalice < room/bath (QoS 0): four\nalice> pub other " + long[:63] + "\n" + long[63:])
	w.keys("C-c")
	w.shows("\nalice>")

	// Completion of topics that were seen, and of saved packets.
	w.keys("packet save reading 21.5 --retain", "Enter")
	w.shows("packet reading saved: 4 bytes, QoS 0, retain\nalice>")
	w.keys("pub room/", "Tab")
	w.shows("\nroom/#        room/bath     room/kitchen\nalice> pub room/")
	w.keys("k", "Tab", "re", "Tab", "Enter")
	w.shows("alice> pub room/kitchen reading\nalice: published to room/kitchen: packet reading (4 bytes), QoS 0, retain\nalice < room/kitchen (QoS 0): 21.5\nalice>")

	// Ctrl-C ends a command, and not the shell.
	w.keys("wait 100 --timeout 1h", "Enter")
	w.shows("alice> wait 100 --timeout 1h")
	w.keys("C-c")
	w.shows("messages came for alice: interrupted\nalice>")

	// Several lines, a password that doesn't show, and the search with Ctrl-R.
	w.keys("pub other -", "Enter")
	w.shows("alice> pub other -\n...")
	w.keys("first", "Enter", ".", "Enter")
	w.shows("... .\nalice: published to other: 5 bytes, QoS 0\nalice>")
	w.keys("connect bob -u bob --ask-password", "Enter")
	w.shows("\nPassword:")
	w.keys("secret", "Enter")
	w.shows("\nPassword:\nbob: connected to " + address + ", MQTT 5.0, new session\nbob>")
	w.keys("connect carol -P secret", "Enter")
	w.shows("carol: connected to " + address + ", MQTT 5.0, new session\ncarol>")
	w.keys("kitchen", "C-r")
	w.shows("\ncarol> pub room/kitchen reading")
	w.keys("C-r")
	w.shows("\ncarol> pub room/kitchen 'half as it was typed'")
	w.keys("C-c")
	w.shows("\ncarol>")
	w.keys("C-d")
	w.shows("\nSTATUS 0")

	// The next shell knows the history, without passwords, and the packets.
	history, err := os.ReadFile(filepath.Join(state, "midge", "history"))
	if err != nil || !strings.Contains(string(history), "packet save reading 21.5 --retain\n") || strings.Contains(string(history), "secret") {
		t.Errorf("history: %v\n%s", err, history)
	}
	w = openTerminal(t, command)
	w.shows("\nmidge>")
	w.keys("packet list", "Enter")
	w.shows("\nreading: 4 bytes, QoS 0, retain\nmidge>")
	w.keys("Up", "Up")
	w.shows("\nmidge> connect bob -u bob --ask-password")
	w.keys("C-c")
	w.keys("quit", "Enter")
	w.shows("\nmidge> quit\nSTATUS 0")
}

// TestLostInTerminal proves that the prompt tells of the end of a connection.
func TestLostInTerminal(t *testing.T) {
	address := midgeBroker(t)
	w := openTerminal(t, "XDG_STATE_HOME="+t.TempDir()+" NO_COLOR=1 "+binary+" shell -L "+address)
	w.keys("connect alice", "Enter")
	w.shows("\nalice>")
	w.keys("half")
	w.shows("\nalice> half")
	publish(t, address, "connect alice") // takes the session over
	w.shows("\nalice: the connection is lost: session taken over (0x8e)\nalice (lost)> half")
	w.keys("C-c")
	w.shows("\nalice (lost)>")
	w.keys("connect alice", "Enter")
	w.shows("\nalice>")
}

// publish runs commands in another shell.
func publish(t *testing.T, address string, lines ...string) {
	t.Helper()
	if status, _, stderr := run(t, "connect\n"+strings.Join(lines, "\n")+"\n", "-L", address); status != 0 {
		t.Fatal(stderr)
	}
}
