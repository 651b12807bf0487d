//go:build integration && unix

package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"midge/internal/bench"
	"midge/internal/program"
	"midge/test/certificate"
	"midge/test/process"
)

// binary is the path of the midge under test.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// world is what the tests share: a Mosquitto with a listener for each transport.
type world struct {
	dir       string
	mosquitto int                 // process id
	addresses map[string][]string // arguments by transport, of Mosquitto
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), addresses: map[string][]string{}}
	certificate.New(t, "broker.test").Write(t, filepath.Join(w.dir, "cert.pem"), filepath.Join(w.dir, "key.pem"))
	secured := fmt.Sprintf("cafile %[1]s/cert.pem\ncertfile %[1]s/cert.pem\nkeyfile %[1]s/key.pem\n", w.dir)
	broker, ports := process.Mosquitto(t, "allow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 100000\n"+
		"listener {tcp} 127.0.0.1\nlistener {tls} 127.0.0.1\n"+secured+
		"listener {ws} 127.0.0.1\nprotocol websockets\nlistener {wss} 127.0.0.1\nprotocol websockets\n"+secured)
	w.mosquitto = broker.Cmd.Process.Pid
	trust := []string{"--cafile", filepath.Join(w.dir, "cert.pem"), "--server-name", "broker.test"}
	w.addresses["tcp"] = []string{"-a", "127.0.0.1:" + ports["tcp"]}
	w.addresses["tls"] = append([]string{"-a", "mqtts://127.0.0.1:" + ports["tls"]}, trust...)
	w.addresses["ws"] = []string{"-a", "ws://127.0.0.1:" + ports["ws"]}
	w.addresses["wss"] = append([]string{"-a", "wss://127.0.0.1:" + ports["wss"]}, trust...)
	return w
}

// patience bounds a run. A test that needs it has failed.
const patience = 10 * time.Minute

// run runs midge bench.
func (w *world) run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return process.Run(t, patience, exec.Command(binary, append([]string{"bench"}, args...)...))
}

// measure runs a scenario that must end without a fault.
func (w *world) measure(t *testing.T, args ...string) bench.Result {
	t.Helper()
	status, stdout, stderr := w.run(t, append(args, "-o", "json", "--warm-up", "0s")...)
	var r bench.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != 0 || r.Failed() || r.Faulty.Sum() != 0 {
		t.Fatalf("midge bench %s: status %d, %v\n%s%s", strings.Join(args, " "), status, err, stdout, stderr)
	}
	return r
}

func TestBench(t *testing.T) {
	w := newWorld(t)
	t.Run("transports", w.transports)
	t.Run("scenarios", w.scenarios)
	t.Run("measures", w.measures)
	t.Run("processes", w.processes)
	t.Run("outputs", w.outputs)
	t.Run("errors", w.errors)
	t.Run("brokenBroker", w.brokenBroker)
}

// transports sends through Mosquitto over each transport, with each version and
// QoS.
func (w *world) transports(t *testing.T) {
	for name, at := range w.addresses {
		for _, version := range []string{"3.1.1", "5.0"} {
			for qos := range 3 {
				r := w.measure(t, append(at, "--publishers", "5", "--subscribers", "5", "--messages", "100", "--mqtt", version, "--qos", fmt.Sprint(qos), "--size", "300")...)
				if r.Received.Messages != 500 || r.Latency.Count != 500 || r.Transport != name || r.MQTT != version {
					t.Errorf("%s, MQTT %s, QoS %d: %+v", name, version, qos, r)
				}
			}
		}
	}
}

// scenarios runs each kind of scenario, small and short.
func (w *world) scenarios(t *testing.T) {
	for line, want := range map[string]uint64{ // messages that were due while measuring, and arrived
		"conn-tcp-200-1K":                       0,
		"fanout-2-50-2-1K --duration 1s":        1000,
		"p2p-20-20-20-500 --duration 1s":        500,
		"sharedsub-20-5-20-500 --duration 1s":   500,
		"fanin-20-1-20-500 --duration 1s":       500,
		"persistent-50-10":                      500,
		"persistent-50-10 --mqtt 5.0":           500,
		"latency-1-200":                         1000,
		"cpu-1-100 --duration 1s":               100,
		"idle-100 --settle 0s --duration 100ms": 0,
		"churn-100 --wills --duration 1s":       0,
		"--publishers 10 --subscribers 5 --topics 20 --filter plus --rate 200 --duration 1s --retain --persistent --qos 2": 200,
		"--publishers 2 --subscribers 2 --clients 20 --filters 500 --churn 50 --rate 100 --duration 1s --keep-alive 1s":    100,
	} {
		r := w.measure(t, append(strings.Fields(line), w.addresses["tcp"]...)...)
		got := r.Received.Messages
		if r.Scenario.Rate > 0 && r.Latency != nil {
			got = r.Latency.Count // of a rate: some are received just after the time that is measured
		}
		if got != want {
			t.Errorf("%s: received %d, want %d", line, got, want)
		}
		if r.Scenario.Offline && (r.Resumed == nil || r.Resumed.Messages != want) {
			t.Errorf("%s: %+v", line, r.Resumed)
		}
	}
	slow := w.measure(t, append(w.addresses["tcp"], "--publishers", "1", "--subscribers", "5", "--topics", "1", "--filter", "all", "--rate", "200",
		"--duration", "1s", "--slow-readers", "2", "--slow-rate", "500")...)
	if s := slow.SlowReads; s == nil || s.Readers != 2 || s.Received+s.Lost != 400 || slow.Latency.Count != 600 {
		t.Errorf("slow readers: %+v beside %d messages of the others", s, slow.Latency.Count)
	}
	_, left, _ := w.run(t, append([]string{"--subscribers", "1", "--duration", "100ms", "-o", "json"}, w.addresses["tcp"]...)...)
	if !strings.Contains(left, `"lost":0`) {
		t.Errorf("a run with a subscriber only: %s", left)
	}
}

// measures proves that CPU time and memory are those of the broker, whether its
// process is named or found by its port.
func (w *world) measures(t *testing.T) {
	for _, how := range [][]string{{"--pid", fmt.Sprint(w.mosquitto)}, nil} {
		args := append(w.addresses["tcp"], "throughput-20", "--duration", "500ms")
		r := w.measure(t, append(args, how...)...)
		u := r.BrokerUse
		if u == nil || u.CPUSeconds <= 0 || u.MicrosPerMsg <= 0 || u.RSS < 1<<20 || u.Threads < 1 || r.BenchUse.CPUSeconds <= 0 {
			t.Errorf("%v: broker %+v, bench %+v", how, u, r.BenchUse)
		}
	}
}

func (w *world) processes(t *testing.T) {
	for _, line := range []string{"p2p-30-30-30-600", "fanout-1-60-1-600", "throughput-30"} {
		r := w.measure(t, append(w.addresses["tcp"], append(strings.Fields(line), "--procs", "3", "--duration", "1s")...)...)
		if r.Environment.Procs != 3 || r.Latency == nil || r.Latency.Count < 600 {
			t.Errorf("%s in 3 processes: %d messages, %+v", line, r.Received.Messages, r.Latency)
		}
	}
}

func (w *world) outputs(t *testing.T) {
	args := append(w.addresses["tcp"], "p2p-5-5-5-100", "--duration", "1500ms", "--warm-up", "0s", "--broker", "mosquitto", "--progress")
	status, table, progress := w.run(t, args...)
	if status != 0 || !strings.Contains(table, " messages in 1.50 s") || !strings.Contains(table, "p99.9") || !strings.Contains(progress, "connections,") {
		t.Errorf("status %d\n%s%s", status, table, progress)
	}
	status, text, _ := w.run(t, append(args, "-o", "go")...)
	line := regexp.MustCompile(`(?m)^BenchmarkMQTT/scenario=p2p-5-5-5-100/qos=1/mqtt=3.1.1/tcp/broker=mosquitto-\d+\t\d+(\t[0-9.e+-]+ [^\s]+)+$`)
	if status != 0 || !line.MatchString(text) || !strings.HasPrefix(text, "goos: ") {
		t.Errorf("status %d, Go benchmark format:\n%s", status, text)
	}
	file := filepath.Join(w.dir, "scenario.toml")
	if err := os.WriteFile(file, []byte("scenario = \"p2p-5-5-5-100\"\nname = \"from a file\"\nwindow = 1\nmessages = 10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.measure(t, append(w.addresses["tcp"], "--file", file, "--messages", "20")...)
	if r.Scenario.Name != "from a file" || r.Received.Messages != 100 || r.Scenario.Window != 1 {
		t.Errorf("a scenario from a file: %+v", r.Scenario)
	}
}

// errors proves that mistakes are told clearly, at once, and by the exit status.
func (w *world) errors(t *testing.T) {
	free, err := program.Port()
	if err != nil {
		t.Fatal(err)
	}
	nobody := "127.0.0.1:" + free
	tcp := w.addresses["tcp"][1]
	for _, test := range []struct {
		line   string
		status int
		want   string
	}{
		{"p2p-1-1-1-1 -a " + nobody, 1, "connect to " + nobody + ": connection refused"},
		{"p2p-1-1-1-1 -a mqtts://" + tcp, 1, "TLS"},
		{"p2p-1-1-1-1 -a ws://" + tcp, 1, "WebSocket"},
		{"p2p-1-1-1-1 --pid 999999999 -a " + tcp, 1, "process 999999999"},
		{"p2p-20K-20K-20K-1 --procs 2 -a " + tcp, 1, "--procs 3"},
		{"fanout-1", 2, "PUBLISHERS-SUBSCRIBERS-TOPICS-RATE"},
		{"nonsense", 2, "there are names like"},
		{"", 2, "no scenario"},
		{"p2p-1-1-1-1 -o xml", 2, "table, json, go"},
		{"p2p-1-1-1-1 --mqtt 3.1", 2, "3.1.1 or 5.0"},
		{"p2p-1-1-1-1 --qos 3", 2, "qos: 3"},
		{"p2p-1-1-1-1 --file /nonexistent", 2, "/nonexistent"},
	} {
		status, _, stderr := w.run(t, strings.Fields(test.line)...)
		if status != test.status || !strings.Contains(stderr, test.want) {
			t.Errorf("midge bench %s: status %d, %q; want %d with %q", test.line, status, stderr, test.status, test.want)
		}
	}
}

// brokenBroker kills a broker in the middle of a run: the exit status is 1, and
// the result tells what was lost.
func (w *world) brokenBroker(t *testing.T) {
	broker, ports := process.Mosquitto(t, "listener {port} 127.0.0.1\nallow_anonymous true\n")
	cmd := exec.CommandContext(t.Context(), binary, "bench", "p2p-10-10-10-1K", "-a", "127.0.0.1:"+ports["port"], "--duration", "20s", "--drain", "1s", "--progress")
	var stdout, stderr strings.Builder
	cmd.Stdout = &stdout
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		fmt.Fprintln(&stderr, lines.Text())
		if strings.Contains(lines.Text(), "measuring") {
			broker.Kill()
		}
	}
	_ = cmd.Wait() // its status is checked below
	if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(stdout.String(), "FAULT: 20 connections ended") || !strings.Contains(stderr.String(), "the broker is at fault") {
		t.Errorf("status %d\n%s%s", status, &stdout, &stderr)
	}
}
