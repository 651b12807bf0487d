package cli

import (
	"os"
	"strings"
	"testing"

	"midge/internal/cli/command"
)

// TestPasswd makes a file, and changes what is in it.
func TestPasswd(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(stdin string, args ...string) (status int, stdout, stderr string) {
		var out, errs strings.Builder
		status = Run(t.Context(), command.World{Args: append([]string{"passwd"}, args...), Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs})
		return status, out.String(), errs.String()
	}
	for _, tt := range []struct {
		args, stdin    string
		status         int
		stdout, stderr string // a part of it
	}{
		{"f alice", "secret\n", command.Failed, "", "-c makes a new file"},
		{"-c f alice", "secret\n", command.Done, "f: user \"alice\" added", ""},
		{"f alice -H bcrypt", "other\r\nmore", command.Done, "f: password of \"alice\" changed", ""},
		{"-b f bob builder -H sha512-pbkdf2", "", command.Done, "f: user \"bob\" added", ""},
		{"f carol", "", command.Failed, "", "the password is empty"},
		{"f a:b", "x", command.Failed, "", "colon"},
		{"-b f dave", "", command.Misuse, "", "this takes FILE USER PASSWORD"},
		{"f", "", command.Misuse, "", "this takes FILE USER"},
		{"-D f nobody", "", command.Failed, "", "no such user"},
		{"-D f bob", "", command.Done, "user \"bob\" deleted", ""},
		{"-D -b f bob x", "", command.Misuse, "", "only one of"},
		{"-c -D f bob", "", command.Misuse, "", "nothing for -D"},
		{"-H md5 f bob", "", command.Misuse, "", "it can be argon2id"},
		{"-U f", "", command.Done, "f: 0 passwords hashed", ""},
		{"f long", strings.Repeat("x", 70_000), command.Failed, "", "longer than"},
		{"f erin -H bcrypt", strings.Repeat("x", 73), command.Failed, "", "72 bytes"},
	} {
		status, stdout, stderr := run(tt.stdin, strings.Fields(tt.args)...)
		if status != tt.status || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (stderr == "") != (tt.stderr == "") {
			t.Errorf("%s: status %d, %s%s; want %d, %s%s", tt.args, status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
		}
		if strings.Contains(stdout+stderr, "secret") {
			t.Errorf("%s: the password is shown", tt.args)
		}
	}
	text, err := os.ReadFile("f")
	if err != nil || !strings.HasPrefix(string(text), "alice:$2a$10$") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the file has\n%s%v", text, err)
	}
}
