//go:build unix

package process

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"midge/internal/program"
)

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
	return mosquitto(t, config, program.Port)
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
