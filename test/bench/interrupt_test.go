//go:build integration && unix

package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"midge/internal/bench"
)

// session is a run of the binary in a process group of its own, as a shell
// starts it at a terminal.
type session struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *bufio.Reader
	said   strings.Builder // read from stderr
}

func (w *world) begin(t *testing.T, args ...string) *session {
	t.Helper()
	s := &session{cmd: exec.CommandContext(t.Context(), binary, append([]string{"bench"}, args...)...)}
	s.cmd.Stdout = &s.stdout
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stderr = bufio.NewReader(stderr)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// until reads standard error until a line contains text.
func (s *session) until(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := s.stderr.ReadString('\n')
		s.said.WriteString(line)
		if err != nil {
			t.Fatalf("no %q: %v\n%s", text, err, s.said.String())
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// end waits for the end of the program and of all processes that it has
// started, which have its standard error.
func (s *session) end(t *testing.T) (status int) {
	t.Helper()
	rest, err := io.ReadAll(s.stderr)
	if err != nil {
		t.Fatal(err)
	}
	s.said.Write(rest)
	_ = s.cmd.Wait() // its status is what it is all about
	return s.cmd.ProcessState.ExitCode()
}

// TestInterrupted proves that Ctrl-C, which reaches all processes of a run,
// ends it with a result, and that no client is left at the broker. Each signal
// comes twice, as timeout(1) sends it.
func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	for _, procs := range []string{"1", "3"} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			args := append(w.addresses["tcp"], "p2p-30-30-30-300", "--warm-up", "0s", "--duration", "1h", "--procs", procs, "--progress", "-o", "json")
			s := w.begin(t, args...)
			s.until(t, "measuring")
			s.until(t, "measuring") // for a second
			for _, to := range []int{s.cmd.Process.Pid, -s.cmd.Process.Pid} {
				if err := syscall.Kill(to, signal); err != nil {
					t.Fatal(err)
				}
			}
			status := s.end(t)
			var r bench.Result
			if err := json.Unmarshal(s.stdout.Bytes(), &r); err != nil {
				t.Fatalf("%s processes, %v: status %d, %v\n%s%s", procs, signal, status, err, s.stdout.String(), s.said.String())
			}
			if status != 1 || r.Failed() || r.Faulty.Sum() != 0 || r.Interrupted <= 0 || r.Seconds <= 0 || r.Seconds > r.Interrupted || r.Latency == nil {
				t.Errorf("%s processes, %v: status %d, interrupted after %v s, measured %v s: %+v %q", procs, signal, status, r.Interrupted, r.Seconds, r.Faulty, r.Faults)
			}
			if !strings.Contains(s.said.String(), "\nmidge: interrupted after ") {
				t.Errorf("it says:\n%s", s.said.String())
			}
		}
	}
}

// TestKilled proves that worker processes end with the one that started them,
// and in silence.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	s := w.begin(t, append(w.addresses["tcp"], "p2p-30-30-30-300", "--duration", "1h", "--procs", "3", "--progress")...)
	s.until(t, "measuring")
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.end(t)
	if text := s.said.String(); strings.Contains(text, "midge: ") {
		t.Errorf("the workers say:\n%s", text)
	}
}

// TestCompareInterrupted proves that a comparison stops its broker, and reports
// the runs that were finished.
func TestCompareInterrupted(t *testing.T) {
	w := newWorld(t)
	plan := filepath.Join(w.dir, "plan.toml")
	text := `rounds = 100
[[broker]]
name = "mosquitto"
command = ["mosquitto", "-p", "{port}"]
[[scenario]]
scenario = "p2p-5-5-5-100"
warm_up = "0s"
duration = "100ms"
`
	if err := os.WriteFile(plan, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(w.dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	out := filepath.Join(w.dir, "report")
	s := w.begin(t, "compare", plan, "--out", out)
	s.until(t, "  2/100  round 2")
	if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	status := s.end(t)
	report, err := os.ReadFile(out + ".md")
	if err != nil {
		t.Fatal(err, s.said.String())
	}
	if status != 1 || !strings.Contains(string(report), "**INCOMPLETE: interrupted after ") || !strings.Contains(s.said.String(), "\nmidge: interrupted after ") {
		t.Errorf("status %d\n%s\n%s", status, s.said.String(), report)
	}
	left, err := os.ReadDir(tmp) // the broker's directory goes when the broker has ended
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var c struct{ Runs []struct{ Round int } }
	results, err := os.ReadFile(out + ".json")
	if err != nil || json.Unmarshal(results, &c) != nil || len(c.Runs) < 2 || len(c.Runs) == 100 {
		t.Errorf("%d runs: %v", len(c.Runs), err)
	}
	if want := fmt.Sprintf("interrupted after %d of 100 runs", len(c.Runs)); !strings.Contains(string(report), want) {
		t.Errorf("no %q in the report", want)
	}
}
