// Package certificate makes certificates for tests.
package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// Certificate is a certificate with its key, for servers and clients.
type Certificate struct {
	TLS  tls.Certificate
	key  *ecdsa.PrivateKey
	x509 *x509.Certificate
}

// New makes a certificate for hosts, names or IP addresses, which is its own
// authority.
func New(t *testing.T, hosts ...string) *Certificate {
	t.Helper()
	return sign(t, nil, hosts)
}

// Sign makes a certificate for hosts whose authority is c.
func (c *Certificate) Sign(t *testing.T, hosts ...string) *Certificate {
	t.Helper()
	return sign(t, c, hosts)
}

// sign makes a certificate that authority signs; nil for the certificate itself.
func sign(t *testing.T, authority *Certificate, hosts []string) *Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	own := authority == nil
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test " + serial.String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: own, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if own {
		template.KeyUsage |= x509.KeyUsageCertSign
		authority = &Certificate{x509: template, key: key}
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.x509, key.Public(), authority.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, key, parsed}
}

// Pool trusts c as an authority, and nobody else.
func (c *Certificate) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.x509)
	return pool
}

// Write writes the certificate and its key as PEM. Brokers that change their
// user can read both.
func (c *Certificate) Write(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: c.x509.Raw}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
