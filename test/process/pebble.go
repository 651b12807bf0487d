//go:build unix

package process

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"midge/internal/program"
)

// Pebble is Debian's Pebble, an authority for tests of ACME. All names are 127.0.0.1 for it.
type Pebble struct {
	*Process
	Directory         string
	TLSPort, HTTPPort string // where it looks whether a name is somebody's

	t          *testing.T
	management string
}

// StartPebble runs Pebble, whose own certificate and key are in files, and returns when it
// answers. Its certificates are valid for some time. It is killed at the end of the test.
func StartPebble(t *testing.T, cert, key string, valid time.Duration) *Pebble {
	t.Helper()
	for _, name := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v (test/install-tools installs what the tests need: pebble)", err)
		}
	}
	for range 5 {
		ports, err := program.Ports(6)
		if err != nil {
			t.Fatal(err)
		}
		at := func(i int) string { return "127.0.0.1:" + ports[i] }
		p := &Pebble{Directory: "https://" + at(0) + "/dir", TLSPort: ports[4], HTTPPort: ports[5], t: t, management: "https://" + at(1)}
		config := filepath.Join(t.TempDir(), "pebble.json")
		text := fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q, "httpPort": %s, "tlsPort": %s, "certificateValidityPeriod": %d}}`,
			at(0), at(1), cert, key, p.HTTPPort, p.TLSPort, int(valid.Seconds()))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names := start(t, exec.Command("pebble-challtestsrv", "-defaultIPv6", "", "-dns01", at(2), "-management", at(3), "-http01", "", "-https01", "", "-tlsalpn01", ""))
		cmd := exec.Command("pebble", "-config", config, "-dnsserver", at(2))
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
		p.Process = start(t, cmd)
		for end := time.Now().Add(patience); !p.Ended() && !names.Ended(); time.Sleep(50 * time.Millisecond) {
			if p.Root() != nil {
				return p
			}
			if time.Now().After(end) {
				t.Fatalf("pebble does not answer within %v\n%s", patience, p.Log())
			}
		}
	}
	t.Fatal("pebble does not start")
	return nil
}

// Root is the certificate of the authority in PEM, nil if it can't be got.
func (p *Pebble) Root() []byte {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	r, err := client.Get(p.management + "/roots/0")
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); err == nil && r.StatusCode == http.StatusOK {
		return text
	}
	return nil
}
