package tlsconfig_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"midge/internal/devcert"
	"midge/internal/settings"
	"midge/internal/tlsconfig"
)

// made is a directory with certificates.
type made string

func (m made) file(name string) string { return filepath.Join(string(m), name+".pem") }

// settings are those of a listener with the server's certificate.
func (m made) settings() *settings.TLS {
	s := settings.Default().TLS
	s.Certificate, s.Key = []string{m.file("server")}, []string{m.file("server-key")}
	return &s
}

func newCertificates(t *testing.T, hosts ...string) made {
	t.Helper()
	dir := t.TempDir()
	if _, err := devcert.Make(dir, hosts, "somebody", time.Now()); err != nil {
		t.Fatal(err)
	}
	return made(dir)
}

func (m made) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(m.file("ca"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return pool
}

func (m made) client(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(m.file("client"), m.file("client-key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake shakes hands. It returns the client's state, and what the server says.
func shake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, err error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		ended <- err
		b.Close()
	}()
	c := tls.Client(a, client)
	_, clientErr := io.ReadFull(c, make([]byte, 1))
	err = <-ended
	if err == nil {
		err = clientErr
	}
	return c.ConnectionState(), err
}

func must(t *testing.T, s *settings.TLS) *tlsconfig.Config {
	t.Helper()
	c, err := tlsconfig.New("test", s, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFaults has the errors name the setting and the file.
func TestFaults(t *testing.T) {
	m := newCertificates(t, "broker.test")
	write := func(name, text string) string {
		f := m.file(name)
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	garbage, broken := write("garbage", "nothing"), write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	open := filepath.Join(string(m), "open.pem")
	key, err := os.ReadFile(m.file("server-key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, key, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		set   func(*settings.TLS)
		parts []string // of the error; nil: there is none
	}{
		{"all is well", func(*settings.TLS) {}, nil},
		{"no certificate", func(s *settings.TLS) { s.Certificate = nil }, []string{"tls.certificate", "midge cert dev"}},
		{"not there", func(s *settings.TLS) { s.Certificate[0] = m.file("none") }, []string{"tls.certificate: open", "none.pem", "no such file"}},
		{"a directory", func(s *settings.TLS) { s.Certificate[0] = string(m) }, []string{"tls.certificate: read", string(m), "is a directory"}},
		{"garbage", func(s *settings.TLS) { s.Certificate[0] = garbage }, []string{"tls.certificate", garbage, "no certificate in PEM"}},
		{"a broken certificate", func(s *settings.TLS) { s.Certificate[0] = broken }, []string{"tls.certificate", broken, "x509"}},
		{"no key", func(s *settings.TLS) { s.Key = nil }, []string{"tls.key", "server.pem has none"}},
		{"another key", func(s *settings.TLS) { s.Key[0] = m.file("client-key") }, []string{"tls.key", "client-key.pem", "server.pem", "does not match"}},
		{"two keys", func(s *settings.TLS) { s.Key = append(s.Key, "x") }, []string{"tls.key", "2 keys for 1 certificates"}},
		{"an open key", func(s *settings.TLS) { s.Key[0] = open }, []string{"tls.key", "chmod o= " + open}},
		{"an open key that may be", func(s *settings.TLS) { s.Key[0], s.ReadableKeys = open, true }, nil},
		{"nobody to trust", func(s *settings.TLS) { s.ClientCertificates = settings.Require }, []string{"tls.client_certificates", "tls.ca"}},
		{"a list of nobody's", func(s *settings.TLS) { s.CRL = []string{garbage} }, []string{"tls.crl", garbage}},
		{"no OCSP", func(s *settings.TLS) { s.OCSPStaple = garbage }, []string{"tls.ocsp_staple", garbage}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.name, "open key") && runtime.GOOS == "windows" {
				t.Skip("files have no such modes")
			}
			s := m.settings()
			tt.set(s)
			_, err := tlsconfig.New("test", s, "mqtt")
			if (err == nil) != (tt.parts == nil) {
				t.Fatalf("error %v", err)
			}
			for _, part := range tt.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q has no %q", err, part)
				}
			}
		})
	}
}

// TestNames picks the certificate of the name that the client asks for.
func TestNames(t *testing.T) {
	a, b := newCertificates(t, "a.test"), newCertificates(t, "b.test")
	s := a.settings()
	s.Certificate, s.Key = append(s.Certificate, b.file("server")), append(s.Key, b.file("server-key"))
	for _, tt := range []struct{ unknown, ask, get string }{
		{settings.FirstCertificate, "a.test", "a.test"},
		{settings.FirstCertificate, "b.test", "b.test"},
		{settings.FirstCertificate, "c.test", "a.test"},
		{settings.FirstCertificate, "", "a.test"},
		{settings.RefuseName, "b.test", "b.test"},
		{settings.RefuseName, "c.test", ""},
	} {
		s.UnknownName = tt.unknown
		state, err := shake(t, must(t, s).TLS(), &tls.Config{ServerName: tt.ask, InsecureSkipVerify: true})
		switch {
		case tt.get == "" && err == nil:
			t.Errorf("%+v: was let in", tt)
		case tt.get == "":
		case err != nil:
			t.Errorf("%+v: %v", tt, err)
		case state.PeerCertificates[0].DNSNames[0] != tt.get:
			t.Errorf("%+v: got %v", tt, state.PeerCertificates[0].DNSNames)
		}
	}
}

// TestClients lets clients in with certificates and without.
func TestClients(t *testing.T) {
	m, other := newCertificates(t, "broker.test"), newCertificates(t, "broker.test")
	for _, tt := range []struct {
		ask  string
		show *made
		in   bool
	}{
		{settings.NoClientCertificates, nil, true},
		{settings.NoClientCertificates, &other, true},
		{settings.Optional, nil, true},
		{settings.Optional, &m, true},
		{settings.Optional, &other, false},
		{settings.Require, nil, false},
		{settings.Require, &m, true},
		{settings.Require, &other, false},
	} {
		s := m.settings()
		s.ClientCertificates, s.CA = tt.ask, []string{m.file("ca")}
		ours := &tls.Config{RootCAs: m.pool(t), ServerName: "broker.test"}
		if tt.show != nil {
			shown := tt.show.client(t)
			ours.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
		}
		if _, err := shake(t, must(t, s).TLS(), ours); (err == nil) != tt.in {
			t.Errorf("%s, shows %v: %v", tt.ask, tt.show, err)
		}
	}
}

// revoke writes a list that has the client's certificate.
func (m made) revoke(t *testing.T, next time.Time) string {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(m.file("ca"), m.file("ca-key"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: next,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: m.client(t).Leaf.SerialNumber, RevocationTime: time.Now()}},
	}, ca.Leaf, ca.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	f := m.file("crl")
	if err := os.WriteFile(f, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRevoked refuses a client whose certificate was revoked, also if it comes with the
// ticket of a session from before.
func TestRevoked(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		m := newCertificates(t, "broker.test")
		s := m.settings()
		s.ClientCertificates, s.CA = settings.Require, []string{m.file("ca")}
		empty := m.file("crl")
		list := m.revoke(t, time.Now().Add(-time.Hour)) // out of date, and gone by all the same
		full, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		s.CRL = []string{empty}
		other := newCertificates(t, "broker.test")
		if err := os.WriteFile(empty, full, 0o644); err != nil {
			t.Fatal(err)
		}
		s.CA[0] = other.file("ca")
		if _, err := tlsconfig.New("test", s, "mqtt"); err == nil || !strings.Contains(err.Error(), "is not signed by an authority") {
			t.Errorf("a stranger's list: %v", err)
		}
		s.CA[0], s.CRL = m.file("ca"), nil
		c := must(t, s)
		ours := &tls.Config{
			RootCAs: m.pool(t), ServerName: "broker.test", Certificates: []tls.Certificate{m.client(t)}, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		if _, err := shake(t, c.TLS(), ours); err != nil {
			t.Fatal(err)
		}
		if state, err := shake(t, c.TLS(), ours); err != nil || !state.DidResume {
			t.Fatalf("resumed: %t, %v", state.DidResume, err)
		}
		s.CRL = []string{list}
		revoked := must(t, s)
		if _, err := shake(t, revoked.TLS(), ours); err == nil {
			t.Errorf("%s: a client whose certificate was revoked was let in", tls.VersionName(version))
		}
		var log bytes.Buffer
		revoked.Warn(time.Now(), slog.New(slog.NewTextHandler(&log, nil)))
		if !strings.Contains(log.String(), "out of date") {
			t.Errorf("nobody is told that the list is out of date: %s", &log)
		}
	}
}

// TestRefresh exchanges files.
func TestRefresh(t *testing.T) {
	m, next := newCertificates(t, "old.test"), newCertificates(t, "new.test")
	c := must(t, m.settings())
	ours := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "x"}
	shown := func(resumed bool) string {
		t.Helper()
		state, err := shake(t, c.TLS(), ours)
		if err != nil {
			t.Fatal(err)
		}
		if state.DidResume != resumed {
			t.Errorf("resumed: %t, want %t", state.DidResume, resumed)
		}
		return state.PeerCertificates[0].DNSNames[0]
	}
	if name := shown(false); name != "old.test" {
		t.Fatal(name)
	}
	if changed, err := c.Refresh(); changed || err != nil {
		t.Errorf("nothing has changed: %t, %v", changed, err)
	}
	if err := os.WriteFile(m.file("server"), []byte("half of a fi"), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, err := c.Refresh(); changed || err == nil || !strings.Contains(err.Error(), "stay as they were") {
		t.Errorf("a broken file: %t, %v", changed, err)
	}
	if changed, err := c.Refresh(); changed || err != nil {
		t.Errorf("the broken file again: %t, %v", changed, err)
	}
	if name := shown(true); name != "old.test" {
		t.Error(name)
	}
	for _, f := range []string{"server", "server-key"} {
		if err := os.Rename(next.file(f), m.file(f)); err != nil {
			t.Fatal(err)
		}
	}
	if changed, err := c.Refresh(); !changed || err != nil {
		t.Errorf("new files: %t, %v", changed, err)
	}
	shown(true) // sessions go on
	ours.ClientSessionCache = nil
	if name := shown(false); name != "new.test" {
		t.Error(name)
	}
}

// TestExpiry warns of the end of a certificate.
func TestExpiry(t *testing.T) {
	m := newCertificates(t, "broker.test")
	c := must(t, m.settings())
	var log bytes.Buffer
	lines := 0
	for hour := 0; hour < (devcert.Days+2)*24; hour++ {
		c.Warn(time.Now().Add(time.Duration(hour)*time.Hour), slog.New(slog.NewTextHandler(&log, nil)))
	}
	for line := range strings.Lines(log.String()) {
		lines++
		if !strings.Contains(line, "broker.test") {
			t.Error(line)
		}
	}
	if lines != 4 { // 30, 7 and 1 days ahead, and at the end
		t.Errorf("%d lines, want 4:\n%s", lines, &log)
	}
}

// TestParameters has what is agreed on follow the settings.
func TestParameters(t *testing.T) {
	m := newCertificates(t, "broker.test")
	for _, tt := range []struct {
		name string
		set  func(*settings.TLS)
		ours *tls.Config
		in   bool
	}{
		{"1.2", func(*settings.TLS) {}, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"1.2, which is too low", func(s *settings.TLS) { s.MinVersion = "1.3" }, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"a cipher in common", func(s *settings.TLS) { s.Ciphers = []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"} }, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"no cipher in common", func(s *settings.TLS) { s.Ciphers = []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"} }, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"mqtt", func(*settings.TLS) {}, &tls.Config{NextProtos: []string{"mqtt"}}, true},
		{"another protocol", func(*settings.TLS) {}, &tls.Config{NextProtos: []string{"other"}}, false},
		{"the other protocol", func(s *settings.TLS) { s.ALPN = []string{"other"} }, &tls.Config{NextProtos: []string{"other"}}, true},
	} {
		s := m.settings()
		tt.set(s)
		tt.ours.InsecureSkipVerify = true
		if _, err := shake(t, must(t, s).TLS(), tt.ours); (err == nil) != tt.in {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
