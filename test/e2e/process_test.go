//go:build integration && unix

package e2e

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"midge/internal/proc"
	"midge/test/process"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 5 * time.Minute

// binary is the path of the midge under test, stripped as for a release.
var binary string

func TestMain(m *testing.M) { os.Exit(process.Main(m, &binary)) }

// midge runs a command that ends by itself.
func midge(t *testing.T, dir string, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	return process.Run(t, patience, cmd)
}

// broker is a running midge.
type broker struct {
	*process.Process
	t *testing.T
}

// serve starts a broker on a free port of 127.0.0.1 and returns when it
// listens. It is killed at the end of the test, at the latest.
func serve(t *testing.T, args ...string) *broker {
	t.Helper()
	return serveIn(t, t.TempDir(), args...)
}

// serveIn is serve in a working directory, where the data directory is.
func serveIn(t *testing.T, dir string, args ...string) *broker {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = dir
	return &broker{process.Serve(t, cmd), t}
}

func (p *broker) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit status; the process must end within limit.
func (p *broker) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(limit):
		p.t.Fatalf("the broker has not ended within %v\n%s", limit, p.Log())
	}
	return p.Cmd.ProcessState.ExitCode()
}

// rss is the resident memory of the process in bytes.
func (p *broker) rss() int { return p.memory("VmRSS") }

// memory is a field of the process's status, in bytes.
func (p *broker) memory(field string) int {
	p.t.Helper()
	n, err := proc.Memory(p.Cmd.Process.Pid, field)
	if runtime.GOOS != "linux" {
		p.t.Skipf("left out: %v", err)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return int(n)
}
