//go:build integration && unix

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/test/process"
)

// TestACME has a broker get certificates from Pebble, by TLS and by HTTP, and renew one under a
// connection. An authority that never answers then delays nobody.
func TestACME(t *testing.T) {
	dir := t.TempDir()
	if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
		t.Fatal(errs)
	}
	file := func(name string) string { return filepath.Join(dir, "certs", name) }
	authority := process.StartPebble(t, file("server.pem"), file("server-key.pem"), 6*time.Second)
	root := x509.NewCertPool()
	if !root.AppendCertsFromPEM(authority.Root()) {
		t.Fatal("no root")
	}
	start := func(cache, listen string, more ...string) *broker {
		t.Helper()
		cmd := exec.Command(binary, append([]string{
			"serve", "--memory", "--listen", listen, "--set", "tls.acme.ca=certs/ca.pem", "--set", "tls.acme.cache=" + cache,
		}, more...)...)
		cmd.Dir = dir
		return &broker{process.Serve(t, cmd), t}
	}
	awaitLog := func(p *broker, what string) {
		t.Helper()
		for end := time.Now().Add(patience); !strings.Contains(p.Log(), what); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the log does not have %q", what)
			}
		}
	}
	dialTLS := func(port, name string, verified bool) (*tls.Conn, error) {
		cfg := &tls.Config{ServerName: name, RootCAs: root, InsecureSkipVerify: !verified}
		return tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", "127.0.0.1:"+port, cfg)
	}

	byTLS := start("by-tls", "tls://127.0.0.1:"+authority.TLSPort, "--set", "tls.acme.domains=a.example.org,b.example.org", "--set", "tls.acme.directory="+authority.Directory)
	for _, name := range []string{"a.example.org", "b.example.org"} {
		awaitLog(byTLS, `msg="a certificate was got" domain=`+name)
		awaitLog(byTLS, "certificates were read again")
	}
	conn, err := dialTLS(authority.TLSPort, "a.example.org", false)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	first := conn.ConnectionState().PeerCertificates[0]
	if _, err := first.Verify(x509.VerifyOptions{DNSName: "a.example.org", Roots: root, Intermediates: pool(conn), CurrentTime: first.NotBefore}); err != nil {
		t.Error(err)
	}
	c := &client{t: t, conn: conn, v: packet.V5}
	c.send((&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: []byte("stays")}).Append(nil))
	c.expect(packet.CONNACK, func(byte, []byte) error { return nil })
	for renewed, end := false, time.Now().Add(patience); !renewed; time.Sleep(100 * time.Millisecond) {
		byTLS.signal(syscall.SIGHUP) // rather than in ten seconds
		again, err := dialTLS(authority.TLSPort, "a.example.org", false)
		if err != nil {
			t.Fatal(err)
		}
		renewed = again.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(first.SerialNumber) != 0
		again.Close()
		if time.Now().After(end) {
			t.Fatalf("the certificate is not renewed\n%s", authority.Log())
		}
	}
	c.send([]byte{0xc0, 0})
	c.expect(packet.PINGRESP, func(byte, []byte) error { return nil })
	if info, err := os.Stat(filepath.Join(dir, "by-tls", "a.example.org")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the key: %v, %v", info.Mode(), err)
	}
	byTLS.signal(syscall.SIGTERM)
	byTLS.wait(time.Minute)

	// Where the authority looks for TLS there is nobody now.
	byHTTP := start("by-http", "tls://127.0.0.1:0", "--set", "tls.acme.domains=c.example.org", "--set", "tls.acme.directory="+authority.Directory, "--set", "tls.acme.http=127.0.0.1:"+authority.HTTPPort)
	awaitLog(byHTTP, `msg="a certificate was got" domain=c.example.org`)
	byHTTP.Kill()

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	late := start("by-http", "tls://127.0.0.1:"+authority.TLSPort, "--set", "tls.acme.domains=c.example.org,d.example.org", "--set", fmt.Sprintf("tls.acme.directory=https://%v/dir", silent.Addr()))
	asked, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	for range 50 {
		conn, err := dialTLS(authority.TLSPort, "c.example.org", false)
		if err != nil {
			t.Fatalf("while the authority is silent: %v\n%s", err, late.Log())
		}
		conn.Close()
	}
}

// pool has the certificates between a server's and the root.
func pool(c *tls.Conn) *x509.CertPool {
	all := x509.NewCertPool()
	for _, x := range c.ConnectionState().PeerCertificates[1:] {
		all.AddCert(x)
	}
	return all
}
