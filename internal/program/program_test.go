//go:build unix

package program

import (
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"
)

// told passes on what a program prints.
type told chan string

func (c told) Write(b []byte) (int, error) {
	c <- string(b)
	return len(b), nil
}

// script starts a shell script that says once that it is ready.
func script(t *testing.T, start func(*exec.Cmd) (*Program, error), text string) *Program {
	t.Helper()
	cmd, out := exec.Command("sh", "-c", text), make(told, 1)
	cmd.Stdout = out
	p, err := start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if line := <-out; line != "ready\n" {
		t.Fatal(line)
	}
	return p
}

// TestEnds proves how programs end, alone and with what they have started, and
// what is said of it.
func TestEnds(t *testing.T) {
	const patience, willing, stubborn = time.Minute, "echo ready; exec sleep 600", `trap "" TERM; echo ready; sleep 600; sleep 600`
	for name, start := range map[string]func(*exec.Cmd) (*Program, error){"alone": Start, "a group": StartGroup} {
		t.Run(name, func(t *testing.T) {
			p := script(t, start, willing)
			if p.Ended() {
				t.Error("it has ended by itself")
			}
			if err := p.Stop(patience); err != nil || !p.Ended() || p.Exit() != "signal: terminated" || p.Err() == nil {
				t.Errorf("stopped: %v, %s", err, p.Exit())
			}
			if err := p.Stop(patience); err != nil {
				t.Errorf("stopped again: %v", err)
			}
			p = script(t, start, willing)
			if p.Kill(); !p.Ended() || p.Exit() != "signal: killed" {
				t.Errorf("killed: %s", p.Exit())
			}
			p = script(t, start, "echo ready; exit 3")
			<-p.Done()
			if err := p.Stop(patience); err != nil || p.Exit() != "exit status 3" {
				t.Errorf("ended by itself: %v, %s", err, p.Exit())
			}
			p = script(t, start, "echo ready")
			if <-p.Done(); p.Err() != nil || p.Exit() != "exit status 0" {
				t.Errorf("done: %s", p.Exit())
			}
		})
	}
	p := script(t, StartGroup, stubborn)
	if err := p.Stop(time.Millisecond); err == nil || err.Error() != "it ignored SIGTERM for 1ms and was killed" || p.Exit() != "signal: killed" {
		t.Errorf("stubborn: %v, %s", err, p.Exit())
	}
	if _, err := Start(exec.Command("/no/such/program")); err == nil {
		t.Error("nothing was started, and that is no error")
	}
}

// TestPorts proves that ports are different and not among those that systems
// give away.
func TestPorts(t *testing.T) {
	ports, err := Ports(9)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 9 {
		t.Errorf("ports %v", ports)
	}
	for _, p := range ports {
		if n, err := strconv.Atoi(p); err != nil || n < 10_000 || n >= 32_768 {
			t.Errorf("port %s", p)
		}
	}
}
