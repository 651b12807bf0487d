//go:build integration && unix

package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"midge/test/process"
)

// TestTLSPrograms has the programs of others connect over TLS and WebSocket, with the
// certificates that midge cert dev makes.
func TestTLSPrograms(t *testing.T) {
	for _, name := range []string{"openssl", "curl", "mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v; install it with: apt-get install openssl curl mosquitto-clients", err)
		}
	}
	eachEngine(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
			t.Fatal(errs)
		}
		p := serveIn(t, dir, "--memory", "--set", engine,
			"--listen", "tls://127.0.0.1:0", "--listen", "ws://127.0.0.1:0/mqtt", "--listen", "wss://127.0.0.1:0/mqtt",
			"--set", "tls.certificate=certs/server.pem", "--set", "tls.key=certs/server-key.pem",
			"--set", "tls.ca=certs/ca.pem", "--set", "tls.client_certificates=require")
		port := func(scheme string) string {
			t.Helper()
			found := regexp.MustCompile(scheme + `://127\.0\.0\.1:(\d+)`).FindStringSubmatch(p.Banner())
			if found == nil {
				t.Fatalf("no listener of %s in\n%s", scheme, p.Banner())
			}
			return found[1]
		}
		run := func(name string, args ...string) (status int, stdout, stderr string) {
			t.Helper()
			cmd := exec.Command(name, args...)
			cmd.Dir = dir
			return process.Run(t, patience, cmd)
		}
		ca, own := []string{"--cafile", "certs/ca.pem"}, []string{"--cert", "certs/client.pem", "--key", "certs/client-key.pem"}
		mosquitto := func(args ...string) []string {
			return append(append([]string{"-h", "localhost", "-p", port("tls"), "-q", "1", "-t", "hello"}, ca...), args...)
		}

		for _, version := range []string{"tlsv1.2", "tlsv1.3"} {
			all := mosquitto(append(own, "--tls-version", version, "-m", version, "-r")...)
			if status, _, errs := run("mosquitto_pub", all...); status != 0 {
				t.Errorf("mosquitto_pub over %s: status %d: %s", version, status, errs)
			}
			status, out, errs := run("mosquitto_sub", mosquitto(append(own, "--tls-version", version, "-C", "1")...)...)
			if status != 0 || strings.TrimSpace(out) != version {
				t.Errorf("mosquitto_sub over %s: status %d, %q: %s", version, status, out, errs)
			}
			s := "-" + strings.ReplaceAll(strings.Replace(version, "v", "", 1), ".", "_")
			status, out, errs = run("openssl", "s_client", s, "-connect", "localhost:"+port("tls"), "-servername", "localhost", "-verify_return_error",
				"-CAfile", "certs/ca.pem", "-cert", "certs/client.pem", "-key", "certs/client-key.pem")
			if status != 0 || !strings.Contains(out, "Verify return code: 0 (ok)") {
				t.Errorf("openssl s_client %s: status %d: %s%s", s, status, out, errs)
			}
		}
		if status, _, _ := run("mosquitto_pub", mosquitto("-m", "x")...); status == 0 {
			t.Error("a client without a certificate was let in")
		}
		if status, _, _ := run("mosquitto_pub", "-h", "localhost", "-p", port("tls"), "-t", "hello", "-m", "x"); status == 0 {
			t.Error("a client without TLS was let in by a listener for TLS")
		}
		other := t.TempDir()
		if status, _, errs := midge(t, other, nil, "cert", "dev"); status != 0 {
			t.Fatal(errs)
		}
		strange := []string{"--cert", filepath.Join(other, "certs/client.pem"), "--key", filepath.Join(other, "certs/client-key.pem"), "-m", "x"}
		if status, _, _ := run("mosquitto_pub", mosquitto(strange...)...); status == 0 {
			t.Error("a client with the certificate of another authority was let in")
		}

		for scheme, args := range map[string][]string{"ws": nil, "wss": append(ca, own...)} {
			status, out, errs := midge(t, dir, nil, append([]string{"sub", "-h", "localhost", "-p", port(scheme), "--ws", "-t", "hello", "-C", "1"}, args...)...)
			if status != 0 || strings.TrimSpace(out) != "tlsv1.3" {
				t.Errorf("midge sub over %s: status %d, %q: %s", scheme, status, out, errs)
			}
		}
		curl := []string{"-s", "-o", filepath.Join(dir, "answer"), "-w", "%{http_code}"}
		for url, code := range map[string]string{
			"http://localhost:" + port("ws") + "/mqtt":   "400",
			"http://localhost:" + port("ws") + "/other":  "404",
			"https://localhost:" + port("wss") + "/mqtt": "400",
		} {
			args := append(append([]string{"--cacert", "certs/ca.pem"}, own...), curl...)
			if status, out, errs := run("curl", append(args, url)...); status != 0 || out != code {
				t.Errorf("curl %s: status %d, %q, want %s: %s", url, status, out, code, errs)
			}
		}
	})
}
