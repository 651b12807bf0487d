package cli

import (
	"os"
	"strings"
	"testing"

	"midge/internal/cli/command"
)

// TestBan bans, lists and removes, in the file that serve would use.
func TestBan(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(args ...string) (status int, stdout, stderr string) {
		var out, errs strings.Builder
		status = Run(t.Context(), command.World{Args: append([]string{"ban"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
		return status, out.String(), errs.String()
	}
	if err := os.WriteFile("memory.toml", []byte("durability = \"none\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("own.toml", []byte("durability = \"none\"\n[bans]\nfile = \"own\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args           string
		status         int
		stdout, stderr string // a part of it
	}{
		{"list", command.Done, "", ""},
		{"add client c1 --for 1h --reason noise", command.Done, "midge-data/bans: added: client c1 until=", ""},
		{"add user u1 --until 9999-01-01T00:00:00Z", command.Done, "added: user u1 until=9999-01-01T00:00:00Z", ""},
		{"add address 10.1.2.3/8", command.Done, "added: address 10.0.0.0/8", ""},
		{"list", command.Done, "address 10.0.0.0/8\n", ""},
		{"add address 10.1.2/8", command.Misuse, "", "is no address"},
		{"add ip 10.1.2.3", command.Misuse, "", "say address, client or user"},
		{"add client", command.Misuse, "", "say what is meant"},
		{"add client c --for 1h --until 9999-01-01T00:00:00Z", command.Failed, "", "give one of them"},
		{"add client c --for -1h", command.Failed, "", "that is over"},
		{"add client c --until 2020-01-01T00:00:00Z", command.Failed, "", "that is over"},
		{"add client c --until tomorrow", command.Failed, "", "write a time"},
		{"remove address 10.0.0.0/8", command.Done, "removed: address 10.0.0.0/8", ""},
		{"remove address 10.0.0.0/8", command.Failed, "", "is not banned"},
		{"list --config memory.toml", command.Failed, "", "there is no file of bans"},
		{"add user u2 --config own.toml", command.Done, "own: added: user u2", ""},
		{"add user u3 --file own", command.Done, "own: added: user u3", ""},
		{"list --file own", command.Done, "user u2\nuser u3\n", ""},
		{"add user u4 --file none/own", command.Failed, "", "no such file or directory"},
	} {
		status, stdout, stderr := run(strings.Fields(tt.args)...)
		if status != tt.status || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (stderr == "") != (tt.stderr == "") {
			t.Errorf("%s: status %d, %s%s; want %d, %s%s", tt.args, status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
		}
	}
	if err := os.WriteFile("own", []byte("nonsense\nuser u5\nuser u6 until=2020-01-01T00:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := run("list", "--file", "own"); status != command.Failed || stdout != "user u5\n" || !strings.Contains(stderr, "own:1: ") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
}
