//go:build integration && unix

package shell

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"midge/test/terminal"
)

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
	w := terminal.Open(t, 80, 24, command)
	w.Ends("'help' lists the commands, Tab completes, Ctrl-D ends.\nmidge>")
	w.Keys("connec", "Tab", "alice", "Enter")
	w.Ends("midge> connect alice\nalice: connected to " + address + ", MQTT 5.0, new session\nalice>")
	w.Keys("sub room/#", "Enter")
	w.Ends("alice: subscribed to room/#, QoS 0\nalice>")

	// A half-typed line survives what arrives, and so does the place of the
	// cursor in it.
	w.Keys("pub room/kitchen 'half typed'", "Left", "Left", "Left", "Left", "Left", "Left")
	w.Ends("alice> pub room/kitchen 'half typed'")
	publish(t, address, "pub room/bath one --qos 1 -D unit=C", `pub room/bath "two\nlines"`, `pub room/bath "\x1b[2Jthree"`)
	w.Ends(`alice < room/bath (QoS 0, unit=C): one
alice < room/bath (QoS 0):
  two
  lines
alice < room/bath (QoS 0): "\x1b[2Jthree"
alice> pub room/kitchen 'half typed'`)
	w.Keys("as it was ", "Enter")
	w.Ends("alice> pub room/kitchen 'half as it was typed'\nalice: published to room/kitchen: 20 bytes, QoS 0\nalice < room/kitchen (QoS 0): half as it was typed\nalice>")

	// So does one that is longer than the screen is wide.
	long := strings.Repeat("0123456789", 10)
	w.Keys("pub other " + long)
	w.Ends("alice> pub other " + long[:63] + "\n" + long[63:])
	publish(t, address, "pub room/bath four")
	w.Ends("\nalice < room/bath (QoS 0): four\nalice> pub other " + long[:63] + "\n" + long[63:])
	w.Keys("C-c")
	w.Ends("\nalice>")

	// Completion of topics that were seen, and of saved packets.
	w.Keys("packet save reading 21.5 --retain", "Enter")
	w.Ends("packet reading saved: 4 bytes, QoS 0, retain\nalice>")
	w.Keys("pub room/", "Tab")
	w.Ends("\nroom/#        room/bath     room/kitchen\nalice> pub room/")
	w.Keys("k", "Tab", "re", "Tab", "Enter")
	w.Ends("alice> pub room/kitchen reading\nalice: published to room/kitchen: packet reading (4 bytes), QoS 0, retain\nalice < room/kitchen (QoS 0): 21.5\nalice>")

	// Ctrl-C ends a command, and not the shell.
	w.Keys("wait 100 --timeout 1h", "Enter")
	w.Ends("alice> wait 100 --timeout 1h")
	w.Keys("C-c")
	w.Ends("messages came for alice: interrupted\nalice>")

	// Several lines, a password that doesn't show, and the search with Ctrl-R.
	w.Keys("pub other -", "Enter")
	w.Ends("alice> pub other -\n...")
	w.Keys("first", "Enter", ".", "Enter")
	w.Ends("... .\nalice: published to other: 5 bytes, QoS 0\nalice>")
	w.Keys("connect bob -u bob --ask-password", "Enter")
	w.Ends("\nPassword:")
	w.Keys("secret", "Enter")
	w.Ends("\nPassword:\nbob: connected to " + address + ", MQTT 5.0, new session\nbob>")
	w.Keys("connect carol -P secret", "Enter")
	w.Ends("carol: connected to " + address + ", MQTT 5.0, new session\ncarol>")
	w.Keys("kitchen", "C-r")
	w.Ends("\ncarol> pub room/kitchen reading")
	w.Keys("C-r")
	w.Ends("\ncarol> pub room/kitchen 'half as it was typed'")
	w.Keys("C-c")
	w.Ends("\ncarol>")
	w.Keys("C-d")
	w.Ends("\nSTATUS 0")

	// The next shell knows the history, without passwords, and the packets.
	history, err := os.ReadFile(filepath.Join(state, "midge", "history"))
	if err != nil || !strings.Contains(string(history), "packet save reading 21.5 --retain\n") || strings.Contains(string(history), "secret") {
		t.Errorf("history: %v\n%s", err, history)
	}
	w = terminal.Open(t, 80, 24, command)
	w.Ends("\nmidge>")
	w.Keys("packet list", "Enter")
	w.Ends("\nreading: 4 bytes, QoS 0, retain\nmidge>")
	w.Keys("Up", "Up")
	w.Ends("\nmidge> connect bob -u bob --ask-password")
	w.Keys("C-c")
	w.Keys("quit", "Enter")
	w.Ends("\nmidge> quit\nSTATUS 0")
}

// TestLostInTerminal proves that the prompt tells of the end of a connection.
func TestLostInTerminal(t *testing.T) {
	address := midgeBroker(t)
	w := terminal.Open(t, 80, 24, "XDG_STATE_HOME="+t.TempDir()+" NO_COLOR=1 "+binary+" shell -L "+address)
	w.Keys("connect alice", "Enter")
	w.Ends("\nalice>")
	w.Keys("half")
	w.Ends("\nalice> half")
	publish(t, address, "connect alice") // takes the session over
	w.Ends("\nalice: the connection is lost: session taken over (0x8e)\nalice (lost)> half")
	w.Keys("C-c")
	w.Ends("\nalice (lost)>")
	w.Keys("connect alice", "Enter")
	w.Ends("\nalice>")
}

// publish runs commands in another shell.
func publish(t *testing.T, address string, lines ...string) {
	t.Helper()
	if status, _, stderr := run(t, "connect\n"+strings.Join(lines, "\n")+"\n", "-L", address); status != 0 {
		t.Fatal(stderr)
	}
}
