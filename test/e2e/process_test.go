//go:build integration && unix

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 30 * time.Second

// binary is the path of the midge under test, stripped as for a release.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "midge-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "midge")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "midge/cmd/midge")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build midge: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// midge runs a command that ends by itself.
func midge(t *testing.T, dir string, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// process is a running broker.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string // of its first listener
	banner string

	mu   sync.Mutex
	log  strings.Builder
	done chan struct{} // closed when the process has ended
}

// serve starts a broker on a free port of 127.0.0.1 and returns when it
// listens. It is killed at the end of the test, at the latest.
func serve(t *testing.T, args ...string) *process {
	t.Helper()
	return serveIn(t, t.TempDir(), args...)
}

// serveIn is serve in a working directory, where the data directory is.
func serveIn(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, done: make(chan struct{})}
	p.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = dir
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	banner := make(chan string, 1)
	go p.read(stdout, banner)
	t.Cleanup(p.kill)
	select {
	case p.banner = <-banner:
	case <-p.done:
		t.Fatalf("the broker ended: %v\n%s", p.cmd.ProcessState, p.logged())
	case <-time.After(patience):
		t.Fatalf("no banner\n%s", p.logged())
	}
	for line := range strings.Lines(p.banner) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "listening" {
			p.addr = strings.TrimPrefix(f[1], "tcp://")
		}
	}
	if p.addr == "" {
		t.Fatalf("no address in the banner\n%s", p.banner)
	}
	return p
}

// read reads the banner, which ends with an empty line, and then whatever
// comes; it waits for the end of the process.
func (p *process) read(stdout io.Reader, banner chan<- string) {
	var text strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		if lines.Text() == "" {
			banner <- text.String()
		}
	}
	p.cmd.Wait() //nolint:errcheck // the status is in ProcessState
	close(p.done)
}

// Write takes the log of the process.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit status; the process must end within limit.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.t.Fatalf("the broker has not ended within %v\n%s", limit, p.logged())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) kill() {
	select {
	case <-p.done:
		return
	default:
	}
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended meanwhile
	<-p.done
	if p.t.Failed() {
		p.t.Logf("log of the broker:\n%s", p.logged())
	}
}

// rss is the resident memory of the process in bytes.
func (p *process) rss() int { return p.memory("VmRSS:") }

// memory is a field of the process's status, in bytes.
func (p *process) memory(field string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skipf("left out: resident memory is read from /proc: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == field {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				p.t.Fatal(err)
			}
			return kib << 10
		}
	}
	p.t.Fatalf("no %s in\n%s", field, status)
	return 0
}
