//go:build integration && unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/program"
	"midge/test/process"
)

// TestTLSPrograms has the programs of others connect over TLS and WebSocket, with the
// certificates that midge cert dev makes.
func TestTLSPrograms(t *testing.T) {
	for _, name := range []string{"openssl", "gnutls-cli", "curl", "mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v; install it with: apt-get install openssl gnutls-bin curl mosquitto-clients", err)
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
		run := func(name string, args ...string) (status int, stdout, stderr string) {
			t.Helper()
			cmd := exec.Command(name, args...)
			cmd.Dir = dir
			return process.Run(t, patience, cmd)
		}
		ca, own := []string{"--cafile", "certs/ca.pem"}, []string{"--cert", "certs/client.pem", "--key", "certs/client-key.pem"}
		mosquitto := func(args ...string) []string {
			return append(append([]string{"-h", "localhost", "-p", p.portOf("tls"), "-q", "1", "-t", "hello"}, ca...), args...)
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
			status, out, errs = run("openssl", "s_client", s, "-connect", "localhost:"+p.portOf("tls"), "-servername", "localhost", "-verify_return_error",
				"-CAfile", "certs/ca.pem", "-cert", "certs/client.pem", "-key", "certs/client-key.pem")
			if status != 0 || !strings.Contains(out, "Verify return code: 0 (ok)") {
				t.Errorf("openssl s_client %s: status %d: %s%s", s, status, out, errs)
			}
			// gnutls-cli says goodbye as soon as it has sent all: the answers come after that.
			cmd := exec.Command("gnutls-cli", "--logfile=gnutls.log", "--priority=NORMAL:-VERS-ALL:+VERS-"+strings.Replace(strings.ToUpper(version), "V", "", 1),
				"--x509cafile=certs/ca.pem", "--x509certfile=certs/client.pem", "--x509keyfile=certs/client-key.pem", "-p", p.portOf("tls"), "localhost")
			cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(conversation("gnutls-"+version)))
			status, out, errs = process.Run(t, patience, cmd)
			if status != 0 || !strings.Contains(out, "gnutls-"+version) {
				t.Errorf("gnutls-cli over %s: status %d, %q: %s", version, status, out, errs)
			}
		}
		if status, _, _ := run("mosquitto_pub", mosquitto("-m", "x")...); status == 0 {
			t.Error("a client without a certificate was let in")
		}
		if status, _, _ := run("mosquitto_pub", "-h", "localhost", "-p", p.portOf("tls"), "-t", "hello", "-m", "x"); status == 0 {
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
			status, out, errs := midge(t, dir, nil, append([]string{"sub", "-h", "localhost", "-p", p.portOf(scheme), "--ws", "-t", "hello", "-C", "1"}, args...)...)
			if status != 0 || strings.TrimSpace(out) != "tlsv1.3" {
				t.Errorf("midge sub over %s: status %d, %q: %s", scheme, status, out, errs)
			}
		}
		curl := []string{"-s", "-o", filepath.Join(dir, "answer"), "-w", "%{http_code}"}
		for url, code := range map[string]string{
			"http://localhost:" + p.portOf("ws") + "/mqtt":   "400",
			"http://localhost:" + p.portOf("ws") + "/other":  "404",
			"https://localhost:" + p.portOf("wss") + "/mqtt": "400",
		} {
			args := append(append([]string{"--cacert", "certs/ca.pem"}, own...), curl...)
			if status, out, errs := run("curl", append(args, url)...); status != 0 || out != code {
				t.Errorf("curl %s: status %d, %q, want %s: %s", url, status, out, code, errs)
			}
		}
		upgrade(t, dir, "http://localhost:"+p.portOf("ws")+"/mqtt")
		upgrade(t, dir, append(append([]string{"--cacert", "certs/ca.pem"}, own...), "https://localhost:"+p.portOf("wss")+"/mqtt")...)
	})
}

// conversation is what a client sends that subscribes to a topic, publishes to it, and ends.
func conversation(topic string) []byte {
	b := (&packet.Connect{Version: packet.V311, ClientID: []byte(topic), CleanStart: true}).Append(nil)
	b = (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte(topic)}}}).Append(b, packet.V311)
	b = (&packet.Publish{Topic: []byte(topic), Payload: []byte("to itself")}).Append(b, packet.V311)
	return (&packet.Disconnect{}).Append(b, packet.V311)
}

// upgrade has curl ask for a WebSocket, with the example of RFC 6455. It gets one, and knows
// nothing to do with it.
func upgrade(t *testing.T, dir string, args ...string) {
	t.Helper()
	answer := filepath.Join(dir, "upgraded")
	cmd := exec.Command("curl", append([]string{
		"-s", "-N", "--http1.1", "-D", answer, "-o", filepath.Join(dir, "frames"),
		"-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
		"-H", "Sec-WebSocket-Protocol: mqtt", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, args...)...)
	cmd.Dir = dir
	p, err := program.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(answer)
	defer p.Kill()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(answer) // not there yet
		text := strings.ToLower(string(b))
		if strings.Contains(text, "\r\n\r\n") {
			for _, want := range []string{"http/1.1 101 ", "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n", "sec-websocket-protocol: mqtt\r\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("curl %q was answered with\n%s\nwithout %q", args, b, want)
				}
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("curl %q has no answer: %q", args, b)
		}
	}
}
