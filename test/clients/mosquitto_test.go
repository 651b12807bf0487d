//go:build integration && unix

package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"midge/test/process"
)

// mosquitto runs Debian's broker until the test ends, with a listener for each
// transport. It returns what scripts need to know of it, by variable.
func mosquitto(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	certificates(t, dir)
	if out, err := exec.Command("mosquitto_passwd", "-c", "-b", dir+"/passwords", "me", "secret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	conf := "per_listener_settings true\npersistence false\nmax_queued_messages 0\n"
	secured := fmt.Sprintf("cafile %[1]s/ca.pem\ncertfile %[1]s/server.pem\nkeyfile %[1]s/server.key\n", dir)
	for name, settings := range map[string]string{
		"PORT": "", "TLS": secured, "MUTUAL": secured + "require_certificate true\n", "WS": "protocol websockets\n", "WSS": "protocol websockets\n" + secured,
	} {
		conf += "listener {" + name + "} 127.0.0.1\nallow_anonymous true\n" + settings
	}
	conf += "listener {LOCKED} 127.0.0.1\nallow_anonymous false\npassword_file " + dir + "/passwords\n"
	conf += "listener 0 " + dir + "/socket\nallow_anonymous true\n"
	_, known := process.Mosquitto(t, conf)
	maps.Copy(known, map[string]string{"SOCKET": dir + "/socket", "CA": dir + "/ca.pem", "CADIR": dir + "/authorities", "CERT": dir + "/client.pem", "KEY": dir + "/client.key"})
	return known
}

// certificates writes an authority, a server's and a client's certificate.
func certificates(t *testing.T, dir string) {
	t.Helper()
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authority.Subject.CommonName = "authority"
	key := write(t, dir, "ca", authority, authority, nil)
	if err := os.Mkdir(filepath.Join(dir, "authorities"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dir + "/ca.pem")
	if err == nil {
		err = os.WriteFile(dir+"/authorities/ca.pem", text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"server", "client"} {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), NotAfter: authority.NotAfter, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		c.Subject.CommonName = name
		write(t, dir, name, c, authority, key)
	}
}

// write signs a certificate with the parent's key, by itself if there is none,
// and writes name.pem and name.key.
func write(t *testing.T, dir, name string, c, parent *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name+file), pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return key
}
