//go:build unix

package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Port returns a port of 127.0.0.1 on which nobody listens, for a server that
// must be told one. It is below those that systems give to outgoing connections
// and to listeners that take any, 32768 and more, so that hardly anybody can take
// it before the server does.
func Port() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

var (
	placeholder = regexp.MustCompile(`\{\w+\}`)
	running     = regexp.MustCompile(`mosquitto version \S+ running\n`)
	portTaken   = regexp.MustCompile(`Address already in use|Unable to create websockets listener`)
)

// mosquittoBasics are lines of every configuration. The log has the line with
// which Mosquitto says that it listens everywhere, and no line for each client. As
// root, it would become a user who can't read the test's files.
const mosquittoBasics = "user root\nlog_type error\nlog_type warning\nlog_type information\n"

// Mosquitto runs Debian's Mosquitto and returns when it listens. Each name in
// braces in the configuration stands for a free port, the same one for the same
// name; ports has them by the name without braces. The broker is killed at the end
// of the test; then its log is shown if the test has failed.
func Mosquitto(t *testing.T, config string) (p *Process, ports map[string]string) {
	t.Helper()
	return mosquitto(t, config, Port)
}

// mosquitto is Mosquitto with a choice of ports. When somebody takes one before
// Mosquitto listens on it, it begins again with others.
func mosquitto(t *testing.T, config string, port func() (string, error)) (p *Process, ports map[string]string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // Debian's PATH for users leaves it out
	}
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	for range 5 {
		ports = map[string]string{}
		var faults []error
		text := placeholder.ReplaceAllStringFunc(config, func(name string) string {
			name = strings.Trim(name, "{}")
			if ports[name] == "" {
				free, err := port()
				ports[name], faults = free, append(faults, err)
			}
			return ports[name]
		})
		if err := errors.Join(append(faults, os.WriteFile(file, []byte(mosquittoBasics+text), 0o600))...); err != nil {
			t.Fatal(err)
		}
		p = start(t, exec.Command(program, "-c", file))
		err = p.until(patience, func() bool { return running.MatchString(p.Log()) })
		if err == nil {
			return p, ports
		}
		if !portTaken.MatchString(p.Log()) {
			break
		}
	}
	t.Fatal(err)
	return nil, nil
}
