package cli

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"midge/internal/cli/command"
)

// TestShell proves that flags and standard input reach the shell, and that the
// first failure is the exit status.
func TestShell(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		name, args, stdin string
		status            int
		stdout, stderr    string
	}{
		{"standard input", "-p 1", "echo hello\n", command.Done, "hello\n", ""},
		{"echo", "--echo", "echo hello\n", command.Done, "midge> echo hello\nhello\n", ""},
		{"script", "--script a.midge", "echo no", command.Done, "from a file\n", ""},
		{"failure", "", "echo hello\nuse a\n", command.Failed, "hello\n", "midge: standard input:2: there is no client a; 'connect a' connects it\n"},
		{"address", "-L mqtt://" + nobody, "connect a\n", command.Failed, "", "midge: standard input:1: connect to mqtt://" + nobody + ": connection refused"},
		{"flag", "-V 7", "", command.Misuse, "", "midge: "},
		{"argument", "extra", "", command.Misuse, "", "midge: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "address" && runtime.GOOS == "windows" {
				t.Skip("the system words this differently")
			}
			t.Chdir(t.TempDir())
			if err := os.WriteFile("a.midge", []byte("echo 'from a file'"), 0o644); err != nil {
				t.Fatal(err)
			}
			var out, errs strings.Builder
			status := Run(t.Context(), command.World{Args: append([]string{"shell"}, strings.Fields(tt.args)...), Stdin: strings.NewReader(tt.stdin), Stdout: &out, Stderr: &errs})
			stdout, stderr := out.String(), errs.String()
			if status != tt.status || stdout != tt.stdout || !strings.HasPrefix(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
				t.Errorf("status %d\n%s%s\nwant status %d\n%s%s", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}
