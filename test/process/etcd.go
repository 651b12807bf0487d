//go:build unix

package process

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"midge/internal/program"
)

// Etcd is Debian's etcd, a cluster of one member.
type Etcd struct {
	*Process
	Endpoint string

	t       *testing.T
	command []string // that starts it
	asked   []string // what etcdctl is told of it
}

// StartEtcd runs etcd over TLS and returns when it answers. cert, key and ca are the names of its files. It
// is killed at the end of the test.
func StartEtcd(t *testing.T, cert, key, ca string) *Etcd {
	t.Helper()
	for _, name := range []string{"etcd", "etcdctl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v (test/install-tools installs what the tests need: etcd-server, etcd-client)", err)
		}
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ports, err := program.Ports(2)
		if err != nil {
			t.Fatal(err)
		}
		e := &Etcd{Endpoint: "https://127.0.0.1:" + ports[0], t: t}
		peer := "http://127.0.0.1:" + ports[1]
		e.command = []string{
			"etcd", "--name", "test", "--data-dir", dir, "--logger", "zap", "--log-level", "warn",
			"--listen-client-urls", e.Endpoint, "--advertise-client-urls", e.Endpoint,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test=" + peer,
			"--cert-file", cert, "--key-file", key,
		}
		e.asked = []string{"--endpoints", e.Endpoint, "--cacert", ca}
		if e.Restart() {
			return e
		}
	}
	t.Fatal("etcd does not start")
	return nil
}

// Restart starts etcd with what it has on disk, and reports whether it answers. It does not
// if somebody else has its port.
func (e *Etcd) Restart() bool {
	e.t.Helper()
	e.Process = start(e.t, exec.Command(e.command[0], e.command[1:]...))
	for end := time.Now().Add(patience); !e.Ended(); time.Sleep(50 * time.Millisecond) {
		if _, err := e.control("endpoint", "health"); err == nil {
			return true
		}
		if time.Now().After(end) {
			e.t.Fatalf("etcd does not answer within %v\n%s", patience, e.Log())
		}
	}
	return false
}

// As has etcdctl say who it is.
func (e *Etcd) As(userAndPassword string) { e.asked = append(e.asked, "--user", userAndPassword) }

// Control runs etcdctl.
func (e *Etcd) Control(args ...string) (out string) {
	e.t.Helper()
	out, err := e.control(args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

func (e *Etcd) control(args ...string) (out string, err error) {
	cmd := exec.Command("etcdctl", append(append([]string{}, e.asked...), args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("etcdctl %q: %w\n%s", args, err, text)
	}
	return string(text), err
}
