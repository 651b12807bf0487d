//go:build unix

// Package process builds and runs the midge binary for tests.
package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Build builds midge in dir, stripped as for a release, and returns its path.
func Build(dir string) (string, error) {
	binary := filepath.Join(dir, "midge")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "midge/cmd/midge")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build midge: %w\n%s", err, out)
	}
	return binary, nil
}

// Process is a running broker.
type Process struct {
	Cmd *exec.Cmd

	banner chan string // gets the banner once

	mu   sync.Mutex
	log  strings.Builder
	done chan struct{} // closed when the process has ended
}

// Start starts a broker. The caller must Kill it, unless it ends by itself.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, banner: make(chan string, 1), done: make(chan struct{})}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = p
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(stdout)
	return p, nil
}

// read reads the banner, which ends with an empty line, and then whatever
// comes; it waits for the end of the process.
func (p *Process) read(stdout io.Reader) {
	var text strings.Builder
	read := false
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if read {
			continue
		}
		fmt.Fprintln(&text, lines.Text())
		if lines.Text() == "" {
			read = true
			p.banner <- text.String()
		}
	}
	p.Cmd.Wait() //nolint:errcheck // the status is in ProcessState
	close(p.done)
}

// Banner waits for the banner of midge, which says that it listens, and returns
// it with the address of the first listener. Call it once.
func (p *Process) Banner(limit time.Duration) (banner, addr string, err error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case banner = <-p.banner:
	case <-p.done:
		return "", "", fmt.Errorf("the broker ended: %v\n%s", p.Cmd.ProcessState, p.Log())
	case <-timeout.C:
		return "", "", fmt.Errorf("no banner within %v\n%s", limit, p.Log())
	}
	for line := range strings.Lines(banner) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "listening" {
			return banner, strings.TrimPrefix(f[1], "tcp://"), nil
		}
	}
	return "", "", errors.New("no address in the banner\n" + banner)
}

// Write takes the log of the process.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// Log returns what the process has logged so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process with SIGKILL, if it still runs, and waits for its end.
func (p *Process) Kill() {
	p.Cmd.Process.Kill() //nolint:errcheck // it may have ended meanwhile
	<-p.done
}
