//go:build integration && unix

package compare

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/test/process"
)

// patience bounds what a program may take. A test that needs it has failed.
const patience = 20 * time.Minute

// binary is the path of the midge under test.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// brokers are those of the plans below.
const brokers = `
[[broker]]
name = "mosquitto"
command = ["mosquitto", "-c", "{dir}/mosquitto.conf"]
version = ["mosquitto", "-h"]
files = { "mosquitto.conf" = "listener {port} 127.0.0.1\nallow_anonymous true\n" }

[[broker]]
name = "midge"
command = ["{midge}", "serve", "--listen", "tcp://127.0.0.1:{port}", "--memory"]
version = ["{midge}", "version"]
`

const scenarios = `
[[scenario]]
name = "pairs"
publishers = 10
subscribers = 10
qos = 1
window = 10
warm_up = "100ms"
duration = "300ms"

[[scenario]]
scenario = "p2p-10-10-10-1K"
name = "steady"
warm_up = "100ms"
duration = "300ms"
`

// compareWith runs a plan and returns where its report is, what it printed,
// and its exit status.
func compareWith(t *testing.T, plan string) (prefix, output string, status int) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "plan.toml")
	if err := os.WriteFile(file, []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	prefix = filepath.Join(dir, "report")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "bench", "compare", file, "--out", prefix)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return prefix, string(text), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return prefix, string(text), 0
}

// TestCompare measures Midge and Mosquitto for a moment, and looks at all
// files that come of it, the page in a browser.
func TestCompare(t *testing.T) {
	prefix, output, status := compareWith(t, "title = \"A moment\"\nrounds = 2\n"+brokers+scenarios)
	if status != 0 {
		t.Fatalf("exit status %d:\n%s", status, output)
	}
	var results struct {
		Brokers []struct{ Version string }
		Runs    []struct {
			Scenario, Broker string
			Result           struct {
				Received  struct{ Messages int }
				BrokerUse struct {
					CPU float64 `json:"cpu_us_per_message"`
				} `json:"broker_use"`
			}
		}
	}
	text, err := os.ReadFile(prefix + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &results); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, r := range results.Runs {
		order = append(order, r.Scenario+" "+r.Broker)
		if r.Result.Received.Messages == 0 || r.Result.BrokerUse.CPU <= 0 {
			t.Errorf("%s, %s: %+v", r.Scenario, r.Broker, r.Result)
		}
	}
	round := "pairs mosquitto, pairs midge, steady mosquitto, steady midge"
	if got := strings.Join(order, ", "); got != round+", "+round {
		t.Errorf("order: %s", got)
	}
	if len(results.Brokers) != 2 || !strings.HasPrefix(results.Brokers[0].Version, "mosquitto version ") || !strings.HasPrefix(results.Brokers[1].Version, "midge ") {
		t.Errorf("versions: %+v", results.Brokers)
	}
	for suffix, want := range map[string]string{
		".md": "**No faults in 8 runs", ".txt": "BenchmarkMQTT/scenario=steady", ".svg": "pairs: received", ".html": "<!doctype html>",
	} {
		text, err := os.ReadFile(prefix + suffix)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: no %q, %v", suffix, want, err)
		}
	}
	inBrowser(t, prefix+".html")
	inBrowser(t, prefix+".svg")
}

// TestCompareFails proves the exit status and the shout of a comparison in
// which a broker doesn't finish: this one ends itself.
func TestCompareFails(t *testing.T) {
	plan := strings.Replace(brokers, `["{midge}", "serve"`, `["timeout", "--signal=KILL", "3", "{midge}", "serve"`, 1)
	long := "[[scenario]]\nname = \"long\"\npublishers = 1\nsubscribers = 1\nrate = 100\nduration = \"5s\"\n"
	prefix, output, status := compareWith(t, "rounds = 1\n"+plan+long)
	if status != 1 || !strings.Contains(output, "FAULT in round 1, long, midge: the broker ended in the middle of the run") {
		t.Errorf("exit status %d:\n%s", status, output)
	}
	text, err := os.ReadFile(prefix + ".md")
	if err != nil || !strings.Contains(string(text), "**FAULTS in 1 of 2 runs.**") || !strings.Contains(string(text), "round 1, long, midge") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestCompareRestarts proves that sessions and messages survive a stop and, with
// Midge, a kill, and that a broker that keeps them in memory is found out.
func TestCompareRestarts(t *testing.T) {
	const plan = `
rounds = 1

[[broker]]
name = "midge"
command = ["{midge}", "serve", "--listen", "tcp://127.0.0.1:{port}", "--data-dir", "{dir}/data", "--set", "durability=commit"]

[[broker]]
name = "mosquitto"
command = ["mosquitto", "-c", "{dir}/mosquitto.conf"]
files = { "mosquitto.conf" = "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {dir}/\n" }

[[scenario]]
scenario = "persistent-200-5"
name = "stopped"
restart = "stop"
returning = 30

[[scenario]]
scenario = "persistent-200-5"
name = "killed"
restart = "kill"
`
	prefix, output, status := compareWith(t, plan)
	if status != 1 || strings.Count(output, "LOST 200 sessions") != 1 || !strings.Contains(output, "FAULT in round 1, killed, mosquitto: LOST ") ||
		strings.Contains(output, ", stopped, mosquitto:") || strings.Contains(output, ", midge:") {
		t.Errorf("exit status %d:\n%s", status, output)
	}
	var results struct {
		Runs []struct {
			Scenario, Broker string
			Result           struct {
				Resumed   struct{ Messages int }
				Restarted struct {
					How   string
					Start float64 `json:"start_seconds"`
					RSS   int     `json:"rss_bytes"`
				}
			}
		}
	}
	text, err := os.ReadFile(prefix + ".json")
	if err == nil {
		err = json.Unmarshal(text, &results)
	}
	if err != nil || len(results.Runs) != 4 {
		t.Fatalf("%d runs: %v", len(results.Runs), err)
	}
	want := []int{150, 150, 1000, 0}
	for i, r := range results.Runs {
		if got := r.Result; got.Resumed.Messages != want[i] || got.Restarted.Start <= 0 || got.Restarted.RSS < 1<<20 {
			t.Errorf("%s, %s: %+v", r.Scenario, r.Broker, got)
		}
	}
}

// TestCompareMistakes proves that mistakes show at once and tell where.
func TestCompareMistakes(t *testing.T) {
	for _, tt := range []struct{ name, plan, want string }{
		{"a fault in the plan", "rounds = 2\n" + brokers + "[[scenario]]\nscenario = \"p2p-10-10-10-1K\"\nqos = 5\n", "plan.toml:15: scenario: qos: 5 is outside 0 to 2"},
		{"a broker that isn't there", "[[broker]]\nname = \"x\"\ncommand = [\"no-such-broker\"]\ninstall = \"make it\"\n" + scenarios, "broker x: there is no program no-such-broker; to install it: make it"},
		{"a broker that doesn't start", strings.Replace(brokers, `"--memory"`, `"--no-such-flag"`, 1) + scenarios, "broker midge: the broker ended before it answered: exit status 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prefix, output, status := compareWith(t, tt.plan)
			if status != 1 || !strings.Contains(output, tt.want) {
				t.Errorf("exit status %d, want %q in\n%s", status, tt.want, output)
			}
			if left, _ := filepath.Glob(prefix + ".*"); len(left) > 0 {
				t.Errorf("reports of nothing: %v", left)
			}
		})
	}
}

// TestPlans proves that the plans of this repository are in order.
func TestPlans(t *testing.T) {
	plans, err := filepath.Glob("../../bench/plans/*.toml")
	if err != nil || len(plans) == 0 {
		t.Fatal(plans, err)
	}
	for _, p := range plans {
		// Choosing a broker that there isn't is the last check before the work.
		out, err := exec.Command(binary, "bench", "compare", p, "--broker", "nobody").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no broker nobody") {
			t.Errorf("%s: %s", p, out)
		}
	}
}
