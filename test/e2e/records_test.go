//go:build integration && unix

package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/test/process"
)

// talk is a program that one talks to.
type talk struct {
	t    *testing.T
	name string
	in   io.Writer

	mu  sync.Mutex
	out bytes.Buffer
}

func (k *talk) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.out.Write(b)
}

func (k *talk) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.out.String()
}

// begin starts a program, which the end of its input ends.
func begin(t *testing.T, dir, name string, args ...string) *talk {
	t.Helper()
	k := &talk{t: t, name: name}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, k, k
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.in = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return k
}

// say sends text, and waits until answer has come once more.
func (k *talk) say(text, answer string) {
	k.t.Helper()
	before := strings.Count(k.String(), answer)
	if _, err := io.WriteString(k.in, text); err != nil {
		k.t.Fatalf("%s: %v\n%s", k.name, err, k)
	}
	for end := time.Now().Add(patience); strings.Count(k.String(), answer) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("%s: %q got no %q\n%q", k.name, text, answer, k)
		}
	}
}

const (
	connectV5 = "\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"
	connack   = "midge-" // the Client Identifier in it
	pingreq   = "\xc0\x00"
	pingresp  = "\xd0\x00"
)

// TestRecordLayer has the TLS libraries of others talk to the compact record layer, change
// keys in both directions, resume their sessions and show certificates.
func TestRecordLayer(t *testing.T) {
	for _, name := range []string{"openssl", "gnutls-cli", "gcc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v; install it with: apt-get install openssl gnutls-bin gcc libmbedtls-dev", err)
		}
	}
	source, err := filepath.Abs("testdata/mbedtls.c")
	if err != nil {
		t.Fatal(err)
	}
	mbedtls := filepath.Join(t.TempDir(), "mbedtls")
	if out, err := exec.Command("gcc", "-o", mbedtls, source, "-lmbedtls", "-lmbedx509", "-lmbedcrypto").CombinedOutput(); err != nil {
		t.Fatalf("%v; apt-get install libmbedtls-dev\n%s", err, out)
	}
	eachEngine(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
			t.Fatal(errs)
		}
		p := serveIn(t, dir, "--memory", "--set", engine, "--listen", "tls://127.0.0.1:0", "--set", "tls.record_layer=compact",
			"--set", "tls.certificate=certs/server.pem", "--set", "tls.key=certs/server-key.pem",
			"--set", "tls.ca=certs/ca.pem", "--set", "tls.client_certificates=require")
		port := regexp.MustCompile(`tls://127\.0\.0\.1:(\d+)`).FindStringSubmatch(p.Banner())[1]

		openssl := func(args ...string) *talk {
			return begin(t, dir, "openssl", append([]string{
				"s_client", "-connect", "localhost:" + port, "-servername", "localhost",
				"-CAfile", "certs/ca.pem", "-cert", "certs/client.pem", "-key", "certs/client-key.pem",
			}, args...)...)
		}
		for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
			session := filepath.Join(dir, suite)
			k := openssl("-ciphersuites", suite, "-sess_out", session)
			k.say(connectV5, connack)
			for _, command := range []string{"K", "k", "K", "K", "k"} {
				k.say(command+"\n", "KEYUPDATE")
				k.say(pingreq, pingresp)
				k.say(pingreq, pingresp)
			}
			if !strings.Contains(k.String(), "Cipher is "+suite) {
				t.Errorf("the suite is not %s\n%s", suite, k)
			}
			k = openssl("-ciphersuites", suite, "-sess_in", session)
			k.say(connectV5, connack)
			if !strings.Contains(k.String(), "Reused, TLSv1.3") {
				t.Errorf("%s: the session was not resumed\n%s", suite, k)
			}
		}
		for _, version := range []string{"-tls1_2", "-tls1_3"} { // 1.2 stays with the library
			k := openssl(version)
			k.say(connectV5, connack)
			k.say(pingreq, pingresp)
		}

		g := begin(t, dir, "gnutls-cli", "-p", port, "--x509cafile", "certs/ca.pem", "--x509certfile", "certs/client.pem", "--x509keyfile", "certs/client-key.pem",
			"--inline-commands", "localhost")
		g.say("", "Simple Client Mode")
		g.say(connectV5, connack)
		for _, command := range []string{"^rekey^", "^rekey1^", "^rekey^"} {
			g.say("\x30\x05\x00\x01x\x00\n"+command+"\n", "Rekey was completed") // it must stand on a line of its own
			g.say(pingreq, pingresp)
		}

		cmd := exec.Command(mbedtls, port, "certs/ca.pem", "certs/client.pem", "certs/client-key.pem")
		cmd.Dir = dir
		if status, out, errs := process.Run(t, patience, cmd); status != 0 || !strings.HasPrefix(out, "TLSv1.") {
			t.Errorf("mbedTLS: status %d, %q: %s", status, out, errs)
		}
	})
}

// TestRecordLayerFIPS runs the broker in FIPS 140 mode, which leaves the compact record layer out.
func TestRecordLayerFIPS(t *testing.T) {
	for _, mode := range []string{"on", "only"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
				t.Fatal(errs)
			}
			cmd := exec.Command(binary, "serve", "--memory", "--listen", "tls://127.0.0.1:0", "--log-level", "debug", "--set", "tls.record_layer=compact",
				"--set", "tls.certificate=certs/server.pem", "--set", "tls.key=certs/server-key.pem")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GODEBUG=fips140="+mode)
			p := process.Serve(t, cmd)
			port := regexp.MustCompile(`tls://127\.0\.0\.1:(\d+)`).FindStringSubmatch(p.Banner())[1]
			k := begin(t, dir, "openssl", "s_client", "-connect", "localhost:"+port, "-servername", "localhost", "-CAfile", "certs/ca.pem")
			k.say(connectV5, connack)
			k.say(pingreq, pingresp)
			if !strings.Contains(k.String(), "TLSv1.3") {
				t.Errorf("the version is not 1.3\n%s", k)
			}
			if want := "keeps the record layer of crypto/tls"; !strings.Contains(p.Log(), want) {
				t.Errorf("the log has no %q\n%s", want, p.Log())
			}
		})
	}
}
