package cli

import (
	"strings"
	"testing"

	"midge/internal/bench"
	"midge/internal/cli/command"
)

// TestBenchMistakes proves that a command line which makes no sense, and a
// target that isn't there, are told before anything is measured.
func TestBenchMistakes(t *testing.T) {
	files := map[string]string{"bad.toml": "qos = 1\nqos = 2\n", "good.toml": "scenario = \"p2p-1-1-1-1\"\n"}
	for _, tt := range []struct {
		args   string
		status int
		want   string
	}{
		{"", command.Misuse, "no scenario: name one"},
		{"p2p-1", command.Misuse, "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE"},
		{"p2p-1-1-1-1 --qos 3", command.Misuse, "qos: 3 is outside 0 to 2"},
		{"p2p-1-1-1-1 --window 1 --rate 1", command.Misuse, "choose one"},
		{"p2p-1-1-1-1 -o yaml", command.Misuse, "table, json, go"},
		{"p2p-1-1-1-1 --mqtt 3.1", command.Misuse, "3.1.1 or 5.0"},
		{"--file bad.toml", command.Misuse, "bad.toml: line 2: qos: set twice"},
		{"--file none.toml", command.Misuse, "none.toml"},
		{"--file good.toml --size 3", command.Misuse, "size: 3"},
		{"p2p-1-1-1-1 -a http://x", command.Failed, "http:// is none of"},
		{"p2p-1-1-1-1 -a 127.0.0.1:1", command.Failed, "127.0.0.1:1"},
		{"worker", command.Failed, "bench worker: read plan"},
	} {
		status, stdout, stderr := run(t, files, nil, append([]string{"bench"}, strings.Fields(tt.args)...)...)
		if status != tt.status || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("midge bench %s: status %d, %q, %q; want %d and %q", tt.args, status, stdout, stderr, tt.status, tt.want)
		}
	}
}

// TestBenchHelp proves that the help shows each scenario and each setting.
func TestBenchHelp(t *testing.T) {
	status, help, _ := run(t, nil, nil, "bench", "--help")
	if status != command.Done {
		t.Fatalf("status %d", status)
	}
	for _, n := range bench.Names() {
		if !strings.Contains(help, n.Pattern) || !strings.Contains(help, n.Example) {
			t.Errorf("no %s, such as %s", n.Pattern, n.Example)
		}
	}
	for _, s := range bench.Settings() {
		if flag := "--" + strings.ReplaceAll(s.Key, "_", "-"); strings.Contains(help, flag+" ") == s.Plan {
			t.Errorf("%s: it belongs there unless it is for plans only", flag)
		}
	}
}
