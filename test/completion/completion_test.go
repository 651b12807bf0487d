//go:build integration && unix

package completion

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"midge/test/process"
	"midge/test/terminal"
)

// binary is the path of the midge under test.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// TestShells types half a command line in each shell, and lets it complete.
func TestShells(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		shell string
		start string // how to start it without the user's settings
		load  string // what to type at first
	}{
		{"bash", "bash --norc --noprofile -i", ". /usr/share/bash-completion/bash_completion; . %"},
		{"zsh", "zsh -f -i", "autoload -U compinit; compinit -u -D; . %"},
		{"fish", "fish --no-config --private", "source %"},
	} {
		t.Run(tt.shell, func(t *testing.T) {
			if _, err := exec.LookPath(tt.shell); err != nil {
				t.Fatalf("%v (test/install-tools installs it)", err)
			}
			script := filepath.Join(dir, tt.shell+".script")
			text, err := exec.Command(binary, "completion", tt.shell).Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(script, text, 0o644); err != nil {
				t.Fatal(err)
			}
			home := t.TempDir()
			w := terminal.Open(t, 120, 30, "HOME="+home+" XDG_CONFIG_HOME="+home+" PATH="+filepath.Dir(binary)+":$PATH PS1='> ' "+tt.start)
			w.Keys(strings.ReplaceAll(tt.load, "%", script)+"; clear; echo read", "y", "Enter")
			w.Until("ready at the top", func(screen string) bool { return strings.HasPrefix(screen, "ready\n") })
			w.Keys("midge compl", "Tab")
			w.Shows("midge completion")
			w.Keys("z", "Tab")
			w.Shows("midge completion zsh")
			w.Keys("C-u")
			w.Keys("midge serve --log-lev", "Tab")
			w.Shows("midge serve --log-level")
			w.Keys("w", "Tab") // completing the flag has put a space behind it
			w.Shows("midge serve --log-level warn")
			w.Keys("C-u")
			w.Keys("midge bench --mqtt ", "Tab", "Tab")
			w.Shows("3.1.1", "5.0")
		})
	}
}
