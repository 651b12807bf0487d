package tlsconfig_test

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/settings"
)

// pairFile writes a key and its certificates into one file, as autocert does.
func (m made) pairFile(t *testing.T, name string) {
	t.Helper()
	var all []byte
	for _, part := range []string{"server-key", "server"} {
		text, err := os.ReadFile(m.file(part))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestACME serves certificates that come while the broker runs, and shows an authority, and
// nobody else, the one that it asks for.
func TestACME(t *testing.T) {
	first, second := newCertificates(t, "a.test"), newCertificates(t, "b.test")
	s := settings.Default().TLS
	s.ACME.Domains, s.ACME.Cache = []string{"a.test", "b.test"}, t.TempDir()
	s.ClientCertificates, s.CA = settings.Require, []string{first.file("ca")}
	c := must(t, &s)
	ask := func(name string, protocols ...string) (tls.ConnectionState, error) {
		return shake(t, c.TLS(), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols, Certificates: []tls.Certificate{first.client(t)}})
	}
	if _, err := ask("a.test"); err == nil || !strings.Contains(err.Error(), "no certificate has been got yet") {
		t.Errorf("before there is one: %v", err)
	}
	if _, err := ask("a.test", settings.ACMEProtocol); err == nil {
		t.Error("an authority is answered that nobody waits for")
	}
	second.pairFile(t, s.ACME.ChallengeFile("a.test"))
	for name, want := range map[string]bool{"a.test": true, "b.test": false, "c.test": false, "../a.test": false} {
		state, err := ask(name, settings.ACMEProtocol)
		if ok := err == nil && state.NegotiatedProtocol == settings.ACMEProtocol && state.PeerCertificates[0].VerifyHostname("b.test") == nil; ok != want {
			t.Errorf("the authority asks for %s: %v", name, err)
		}
	}
	if _, err := ask("a.test", "mqtt", settings.ACMEProtocol); err == nil {
		t.Error("who offers another protocol as well is taken for an authority")
	}
	without := &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, NextProtos: []string{settings.ACMEProtocol}}
	if _, err := shake(t, c.TLS(), without); err != nil {
		t.Errorf("the authority has no certificate: %v", err)
	}

	first.pairFile(t, s.ACME.CertificateFile("a.test"))
	if changed, err := c.Refresh(); !changed || err != nil {
		t.Errorf("a certificate has come: %v, %v", changed, err)
	}
	for _, name := range []string{"a.test", "b.test"} { // the first for a name without one
		if state, err := ask(name); err != nil || state.PeerCertificates[0].VerifyHostname("a.test") != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	second.pairFile(t, s.ACME.CertificateFile("b.test"))
	if changed, err := c.Refresh(); !changed || err != nil {
		t.Errorf("the second has come: %v, %v", changed, err)
	}
	if state, err := ask("b.test"); err != nil || state.PeerCertificates[0].VerifyHostname("b.test") != nil {
		t.Errorf("b.test: %v", err)
	}
	if err := os.WriteFile(s.ACME.CertificateFile("b.test"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Refresh(); err == nil || !strings.Contains(err.Error(), filepath.Base(s.ACME.CertificateFile("b.test"))) {
		t.Errorf("a broken file: %v", err)
	}
	if _, err := ask("b.test"); err != nil {
		t.Errorf("after a broken file: %v", err)
	}

	own := *second.settings()
	own.ACME = s.ACME
	c = must(t, &own)
	if state, err := ask("a.test"); err != nil || state.PeerCertificates[0].VerifyHostname("b.test") != nil {
		t.Errorf("a listener with a certificate of its own: %v", err)
	}
	if _, err := ask("a.test", settings.ACMEProtocol); err == nil {
		t.Error("a listener with a certificate of its own answers an authority")
	}
}

// TestACMEExpiry leaves it to package acme to warn of certificates that end: short ones always
// end soon.
func TestACMEExpiry(t *testing.T) {
	m := newCertificates(t, "a.test")
	s := settings.Default().TLS
	s.ACME.Domains, s.ACME.Cache = []string{"a.test"}, t.TempDir()
	m.pairFile(t, s.ACME.CertificateFile("a.test"))
	var text strings.Builder
	must(t, &s).Warn(time.Now().Add(100*365*24*time.Hour), slog.New(slog.NewTextHandler(&text, nil)))
	if text.Len() > 0 {
		t.Error(text.String())
	}
}
