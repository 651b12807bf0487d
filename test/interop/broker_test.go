//go:build integration && unix

package interop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"midge/test/process"
)

// patience is how long a test waits for what must happen. It is far above what
// anything here takes; a test that needs it has failed.
const patience = 5 * time.Minute

var (
	// addresses are where the broker under test listens, host:port, by scheme.
	addresses = map[string]string{}

	// binary is midge, and certificates the directory of what its cert dev has made; both
	// empty with somebody else's broker.
	binary, certificates string
)

func TestMain(m *testing.M) {
	if addr := os.Getenv("MIDGE_INTEROP_ADDR"); addr != "" {
		addresses["tcp"] = addr
		os.Exit(m.Run())
	}
	os.Exit(process.Built(func(path string) int {
		binary = path
		broker, err := serve()
		if broker != nil {
			defer broker.Kill()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// serve starts the broker under test, on each transport.
func serve() (*process.Process, error) {
	certificates = binary + "-certificates"
	if out, err := exec.Command(binary, "cert", "dev", "--dir", certificates).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("midge cert dev: %w\n%s", err, out)
	}
	args := append([]string{"serve", "--data-dir", binary + "-data"}, ownCertificate()...)
	for _, address := range []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0/mqtt", "wss://127.0.0.1:0/mqtt"} {
		args = append(args, "--listen", address)
	}
	broker, err := process.Start(exec.Command(binary, args...))
	if err != nil {
		return nil, err
	}
	if err := broker.Listening(patience); err != nil {
		return broker, err
	}
	addresses = listening(broker)
	return broker, nil
}

// ownCertificate is how a broker is told its certificate.
func ownCertificate() []string {
	return []string{"--set", "tls.certificate=" + certificates + "/server.pem", "--set", "tls.key=" + certificates + "/server-key.pem"}
}

// listening is where a broker listens, host:port, by scheme.
func listening(broker *process.Process) map[string]string {
	all := map[string]string{}
	for _, found := range regexp.MustCompile(`(tcp|tls|wss?)://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(broker.Banner(), -1) {
		all[found[1]] = found[2]
	}
	return all
}

// tlsConfig trusts the broker under test.
func tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(certificates, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}
