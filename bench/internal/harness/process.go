//go:build linux

// Package harness is what the benchmarks share: building what is measured, starting and stopping brokers, reading their
// use of CPU time, memory and disk, and writing figures.
package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// StopLimit is the time that a broker has to end after SIGTERM, before it is killed.
const StopLimit = 20 * time.Second

// Package is a command to build: Module is the directory of its module, relative to that of midge, and Path is that of
// the package in it.
type Package struct{ Module, Path string }

// Build builds commands into dir, under the names that are the keys. It is called in a directory of midge's module, or
// of a module inside it.
func Build(dir string, commands map[string]Package) error {
	root, err := Root()
	if err != nil {
		return err
	}
	for name, p := range commands {
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), p.Path)
		build.Dir = filepath.Join(root, p.Module)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, text)
		}
	}
	return nil
}

// Root returns the directory of midge's module: the one at or above the working directory that says so.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module midge\n") {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("find the module: no go.mod of midge at or above the working directory")
		}
		dir = above
	}
}

// Process is a running broker.
type Process struct {
	Address string // where it listens
	cmd     *exec.Cmd
	log     bytes.Buffer
	done    chan struct{} // closed when the process has ended
	err     error         // of Wait, set before done is closed
}

// Spawn starts a command in a process group of its own. It is killed if the caller ends.
func Spawn(dir, address, name string, args ...string) (*Process, error) {
	p := &Process{Address: address, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Listening waits until p accepts connections; it stops p if that takes longer than limit.
func (p *Process) Listening(limit time.Duration) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && !p.ended(); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", p.Address)
		if err == nil {
			return c.Close()
		}
	}
	return errors.Join(fmt.Errorf("not listening on %s within %v", p.Address, limit), p.Stop(), errors.New(p.log.String()))
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Stop ends the process with SIGTERM, or with SIGKILL after StopLimit, and waits for it.
func (p *Process) Stop() error {
	return p.end(syscall.SIGTERM)
}

// Kill ends the process with SIGKILL and waits for it.
func (p *Process) Kill() error {
	return p.end(syscall.SIGKILL)
}

func (p *Process) end(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(StopLimit, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.done
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		return p.err
	}
	return nil
}

// Figures runs a command that prints figures as one line of JSON and faults on standard error, as load does. It kills
// the command after limit.
func Figures(limit time.Duration, name string, args ...string) (figures map[string]float64, faults []string) {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return nil, []string{err.Error()}
	}
	kill := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		faults = append(faults, strings.Split(strings.TrimSpace(stderr.String()+" ("+err.Error()+")"), "\n")...)
	}
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &figures); err != nil {
			faults = append(faults, fmt.Sprintf("read figures: %v", err))
		}
	}
	return figures, faults
}

// FreeAddress returns an address on 127.0.0.1 that nobody listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Lock locks the file name exclusively, as flock(1) does. Without a name it does nothing.
func Lock(name string) (unlock func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f.Close, nil
}
