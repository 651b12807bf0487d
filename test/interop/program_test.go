//go:build integration && unix

package interop

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is a process of the test: its output goes line by line to a function.
type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	output strings.Builder // all of it, for reports
}

// find fails the test with the command that installs a missing program.
func find(t *testing.T, file, install string) string {
	t.Helper()
	path, err := exec.LookPath(file)
	if err != nil {
		t.Fatalf("%v; install it with: %s", err, install)
	}
	return path
}

// start starts cmd. line gets each line of its standard output, on one goroutine.
// The process is killed at the end of the test, at the latest.
func start(t *testing.T, cmd *exec.Cmd, line func(string)) *program {
	t.Helper()
	p := &program{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = p
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			_, _ = io.WriteString(p, lines.Text()+"\n") // a Builder never fails
			line(lines.Text())
		}
		_ = cmd.Wait() // the status of a killed process says nothing
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd, p.text())
		}
	})
	return p
}

// Write keeps what the process prints.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// kill ends the process abnormally and waits for it.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.done
}

// await waits for a signal from the program.
func await[T any](t *testing.T, p *program, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
		return v
	case <-p.done:
		select {
		case v = <-c: // it said so and ended
			return v
		default:
		}
		t.Fatalf("%s: the program ended", what)
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %v", what, patience)
	}
	return v
}

// script is a client in another language, which speaks the protocol of mqttjs.mjs.
type script struct {
	*program
	stdin     io.Writer
	messages  chan message
	answers   chan answer
	isPresent bool
}

// answer is a line of output of a script.
type answer struct {
	Connected bool     `json:"connected"`
	Present   bool     `json:"present"`
	Done      bool     `json:"done"`
	Error     string   `json:"error"`
	Message   *message `json:"message"`
}

// command is a line of input of a script.
type command struct {
	Op      string   `json:"op"`
	Filter  string   `json:"filter,omitempty"`
	QoS     byte     `json:"qos"`
	Message *message `json:"message,omitempty"`
}

func connectMQTTjs(t *testing.T, o options) client {
	t.Helper()
	node := find(t, "node", "apt-get install nodejs npm")
	if _, err := os.Stat("node_modules/mqtt/package.json"); err != nil {
		t.Fatalf("MQTT.js is missing: %v; install it with: cd test/interop && npm ci", err)
	}
	return connectScript(t, o, node, "mqttjs.mjs")
}

func connectPython(t *testing.T, o options) client {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's, which sees Debian's packages
	find(t, python, "apt-get install python3 python3-paho-mqtt")
	if out, err := exec.Command(python, "-c", "import paho.mqtt").CombinedOutput(); err != nil {
		t.Fatalf("paho-mqtt is missing; install it with: apt-get install python3-paho-mqtt\n%s", out)
	}
	return connectScript(t, o, python, "python.py")
}

func connectScript(t *testing.T, o options, interpreter, file string) client {
	t.Helper()
	arg, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, file, string(arg))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &script{stdin: stdin, messages: make(chan message, 100), answers: make(chan answer, 100)}
	s.program = start(t, cmd, func(line string) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			a.Error = line
		}
		if a.Message != nil {
			s.messages <- *a.Message
		} else {
			s.answers <- a
		}
	})
	a := await(t, s.program, "connect", s.answers)
	if !a.Connected {
		t.Fatalf("connect: %+v", a)
	}
	s.isPresent = a.Present
	return s
}

func (s *script) do(t *testing.T, c command) {
	t.Helper()
	line, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("%s: %v", c.Op, err)
	}
	if a := await(t, s.program, c.Op, s.answers); !a.Done {
		t.Fatalf("%s: %+v", c.Op, a)
	}
}

func (s *script) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	s.do(t, command{Op: "subscribe", Filter: filter, QoS: qos})
}

func (s *script) publish(t *testing.T, m message) {
	t.Helper()
	s.do(t, command{Op: "publish", Message: &m})
}

func (s *script) received() <-chan message { return s.messages }
func (s *script) present() bool            { return s.isPresent }
func (s *script) drop(*testing.T)          { s.kill() }

func (s *script) close(t *testing.T) {
	t.Helper()
	s.do(t, command{Op: "close"})
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("the program has not ended within %v", patience)
	}
}
