//go:build unix

// Package process builds midge, and runs it and other brokers for tests. There
// is one way to start each: Serve for midge, Mosquitto for Debian's. Both return
// when the process that they have started says itself that it listens; that a
// port answers would prove less, since it may be anybody's.
package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/internal/program"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 5 * time.Minute

// Main is for TestMain: it builds midge, tells binary its path, runs the tests
// of a package and returns the exit status.
func Main(m *testing.M, binary *string) (status int) {
	return Built(func(path string) int {
		*binary = path
		return m.Run()
	})
}

// Built builds midge, calls do with its path, and returns the exit status.
func Built(do func(binary string) (status int)) (status int) {
	dir, err := os.MkdirTemp("", "midge-binary-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, err := build(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return do(binary)
}

// build builds midge in dir, stripped as for a release, and returns its path.
func build(dir string) (binary string, err error) {
	binary = filepath.Join(dir, "midge")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "midge/cmd/midge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build midge: %w\n%s", err, out)
	}
	return binary, nil
}

// Run runs a command to its end. One that takes longer than limit is killed, and
// the test fails.
func Run(t *testing.T, limit time.Duration, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(limit, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended meanwhile
	cmd.Wait()                                                    //nolint:errcheck // the status is in ProcessState
	if !guard.Stop() {
		t.Errorf("%s has not ended within %v", cmd, limit)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Process is a running broker, and what it prints.
type Process struct {
	*program.Program
	Addr string // host:port of the first listener of midge, after Listening

	mu       sync.Mutex
	out, log strings.Builder // standard output and standard error
	more     chan struct{}   // has an item after something was printed
}

// Start starts a broker; midge prints its banner. The caller must Kill it, unless
// it ends by itself.
func Start(cmd *exec.Cmd) (*Process, error) {
	cmd.Env = append(cmd.Environ(), "MIDGE_LOG_BANNER=always")
	p := &Process{more: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = stream{p, &p.out}, stream{p, &p.log}
	var err error
	p.Program, err = program.Start(cmd)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// stream takes a stream of output.
type stream struct {
	p    *Process
	text *strings.Builder
}

func (s stream) Write(b []byte) (int, error) {
	s.p.mu.Lock()
	s.text.Write(b)
	s.p.mu.Unlock()
	select {
	case s.p.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// until waits for output that is has a look at: it returns true when it has
// seen what it waits for.
func (p *Process) until(limit time.Duration, is func() bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for ended := false; !is(); {
		if ended {
			return fmt.Errorf("%s ended: %v\n%s", filepath.Base(p.Cmd.Path), p.Cmd.ProcessState, p.Log())
		}
		select {
		case <-p.more:
		case <-p.Done():
			ended = true // and all of its output is here
		case <-timeout.C:
			return fmt.Errorf("%s does not listen within %v\n%s", filepath.Base(p.Cmd.Path), limit, p.Log())
		}
	}
	return nil
}

// Listening waits for the banner of midge, which says that it listens, and
// keeps the address.
func (p *Process) Listening(limit time.Duration) error {
	if err := p.until(limit, func() bool { return p.Banner() != "" }); err != nil {
		return err
	}
	for line := range strings.Lines(p.Banner()) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "listening" {
			p.Addr = strings.TrimPrefix(f[1], "tcp://")
			return nil
		}
	}
	return fmt.Errorf("no address in the banner\n%s", p.Banner())
}

// Banner returns the banner of midge up to the empty line at its end, or
// nothing as long as that has not come.
func (p *Process) Banner() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	const end = "\n\n"
	banner, _, found := strings.Cut(p.out.String(), end)
	if !found {
		return ""
	}
	return banner + end
}

// Log returns what the process has logged so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Serve runs a command line of midge serve and returns when it listens. Its
// working directory is a new one unless cmd has another. The broker is killed at
// the end of the test, at the latest; then its log is shown if the test has failed.
func Serve(t *testing.T, cmd *exec.Cmd) *Process {
	t.Helper()
	if cmd.Dir == "" {
		cmd.Dir = t.TempDir()
	}
	p := start(t, cmd)
	if err := p.Listening(patience); err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts a broker that is killed at the end of the test.
func start(t *testing.T, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := Start(cmd)
	if err != nil {
		t.Fatalf("%v (test/install-tools installs what the tests need)", err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(cmd.Path), p.Log())
		}
	})
	return p
}
