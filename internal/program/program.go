// Package program runs other programs, brokers above all, and sees to their
// end: for 'midge bench compare', which starts brokers as a plan says, and for
// the tests of the whole.
//
// It doesn't know when a broker is ready; who starts it does. A Program may be
// used by several goroutines.
//
// Files, from the bottom up: program.go, signal_unix.go, signal_other.go.
package program

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// Program is a program that was started.
type Program struct {
	Cmd   *exec.Cmd
	group bool          // it leads a process group of its own
	done  chan struct{} // closed when it has ended
	err   error         // of Wait; set before done is closed
}

// Start starts a program, which a terminal's Ctrl-C reaches as it does this one.
func Start(cmd *exec.Cmd) (*Program, error) { return start(cmd, false) }

// StartGroup starts a program in a process group of its own, so that the
// terminal's Ctrl-C doesn't reach it, and it ends with all that it has started.
func StartGroup(cmd *exec.Cmd) (*Program, error) {
	ownGroup(cmd)
	return start(cmd, true)
}

func start(cmd *exec.Cmd, group bool) (*Program, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Program{Cmd: cmd, group: group, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the number of the process.
func (p *Program) PID() int { return p.Cmd.Process.Pid }

// Done is closed when the program has ended and all that it has printed is
// where it belongs.
func (p *Program) Done() <-chan struct{} { return p.done }

// Ended reports whether the program has ended.
func (p *Program) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Exit says how the program has ended: call it only after that.
func (p *Program) Exit() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// Err is nil if the program has ended with status 0: call it only after that.
func (p *Program) Err() error { return p.err }

// Stop ends the program with SIGTERM, or with SIGKILL after limit, which is an
// error, and waits for its end.
func (p *Program) Stop(limit time.Duration) error {
	var fault error
	if !p.Ended() {
		if err := p.terminate(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			fault = fmt.Errorf("send SIGTERM to process %d: %w", p.PID(), err)
		}
		kill := time.NewTimer(limit)
		defer kill.Stop()
		select {
		case <-p.done:
		case <-kill.C:
			fault = errors.Join(fault, fmt.Errorf("it ignored SIGTERM for %v and was killed", limit))
		}
	}
	p.Kill() // or what it has left behind
	return fault
}

// Kill ends the program with SIGKILL, and what it has started if it leads a
// group, and waits for its end.
func (p *Program) Kill() {
	p.kill()
	<-p.done
}

// Port returns a port of 127.0.0.1 on which nobody listens, for a server that
// must be told one. It is below those that systems give to outgoing connections
// and to listeners that take any, 32768 and more, so that hardly anybody can take
// it before the server does.
func Port() (string, error) {
	ports, err := Ports(1)
	if err != nil {
		return "", err
	}
	return ports[0], nil
}

// Ports returns n different ports as Port does.
func Ports(n int) (ports []string, err error) {
	for range 100 * n {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err != nil {
			continue
		}
		defer l.Close() // only at the end, so that no port comes twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("find a free port: %w", err)
}
