package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"midge/internal/bench/compare"
	"midge/internal/cli/command"
)

func TestBenchCompareMisuse(t *testing.T) {
	const good = "[[broker]]\nname = 'x'\ncommand = ['no-such-broker']\n[[scenario]]\nscenario = 'conn-tcp-10-10'\n"
	files := map[string]string{"plan.toml": good, "bad.toml": "rounds = 0\n[[brocker]]\n", "bad.json": "{}"}
	for _, tt := range []struct {
		name, args string
		status     int
		stderr     string
	}{
		{"nothing", "", command.Misuse, "midge: want a plan, or --from with a file of results\n"},
		{"two plans", "plan.toml plan.toml", command.Misuse, "midge: \"plan.toml\" is too much: write midge bench compare PLAN.toml [flags]\n"},
		{"plan and results", "plan.toml --from x.json", command.Misuse, "midge: want a plan, or --from with a file of results\n"},
		{"rounds", "plan.toml --rounds 1001", command.Misuse, "midge: --rounds 1001: it can be 1 to 1000\n"},
		{"faults", "bad.toml", command.Failed, "midge: bad.toml:1: rounds: 0 is no number from 1 to 1000\nmidge: bad.toml:2: unknown section [[brocker]]; a plan has [[broker]], [broker.files] below it, and [[scenario]]\nmidge: bad.toml:1: no [[broker]]\n"},
		{"unknown broker", "plan.toml --broker y", command.Failed, "midge: plan plan.toml: no broker y\n"},
		{"unknown scenario", "plan.toml --scenario y", command.Failed, "midge: plan plan.toml: no scenario y\n"},
		{"empty results", "--from bad.json", command.Failed, "midge: read results bad.json: no brokers or scenarios in it\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := run(t, files, nil, append([]string{"bench", "compare"}, strings.Fields(tt.args)...)...)
			if status != tt.status || stdout != "" || !strings.HasPrefix(stderr, tt.stderr) {
				t.Errorf("status %d\n%s%s\nwant status %d\n%s", status, stdout, stderr, tt.status, tt.stderr)
			}
		})
	}
}

// TestBenchCompareFrom proves that reports are made from results, and that
// their faults still fail.
func TestBenchCompareFrom(t *testing.T) {
	c := compare.Comparison{Title: "old", Base: "a", Rounds: 1, Brokers: []compare.Contender{{Name: "a"}}, Scenarios: []compare.Load{{Name: "s", Headline: "rate"}}}
	for _, tt := range []struct {
		name       string
		runs       []compare.Run
		incomplete string
		status     int
		stderr     string
		report     string
	}{
		{"good", []compare.Run{{Round: 1, Scenario: "s", Broker: "a"}}, "", command.Done, "", "**No faults in 1 run:"},
		{"faulty", []compare.Run{{Round: 1, Scenario: "s", Broker: "a", Error: "it died"}}, "", command.Failed, "midge: there were faults: see above, and the report\n", "**FAULTS in 1 of 1 run.**"},
		{"interrupted", nil, "interrupted after 0 of 1 runs", command.Failed, "midge: interrupted after 0 of 1 runs\n", "**INCOMPLETE: interrupted after 0 of 1 runs.**"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.Runs, c.Incomplete = tt.runs, tt.incomplete
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			status, stdout, stderr := run(t, map[string]string{"old.json": string(text)}, nil, "bench", "compare", "--from", "old.json", "--out", "new")
			if status != tt.status || stderr != tt.stderr || stdout != "new.json\nnew.txt\nnew.svg\nnew.html\nnew.md\n" {
				t.Errorf("status %d\n%s%s", status, stdout, stderr)
			}
			report, err := os.ReadFile("new.md")
			if err != nil || !strings.Contains(string(report), tt.report) {
				t.Errorf("%v\n%s", err, report)
			}
		})
	}
}
