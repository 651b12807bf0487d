// Package devcert makes certificates for trying TLS out: an authority, and a server's and
// a client's certificate from it. All keys are ECDSA P-256, with which a handshake costs a
// server a seventh of what it does with RSA.
package devcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Days is how long the certificates hold.
const Days = 365

// names of the files, the keys' with -key.
const (
	authority = "ca"
	server    = "server"
	client    = "client"
)

// pair is a certificate and its key.
type pair struct {
	x   *x509.Certificate
	key *ecdsa.PrivateKey
}

// Make writes the files into a directory, which it makes if it is not there, and returns their
// names. hosts are the names and addresses of the server, user is the common name of the
// client. What an earlier call has made stays: it is an error that a file is there.
func Make(dir string, hosts []string, user string, now time.Time) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory %s: %w", dir, err)
	}
	ca, err := sign(nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Midge test authority"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, now)
	if err != nil {
		return nil, err
	}
	forServer := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			forServer.IPAddresses = append(forServer.IPAddresses, ip)
		} else {
			forServer.DNSNames = append(forServer.DNSNames, host)
		}
	}
	s, err := sign(ca, forServer, now)
	if err != nil {
		return nil, err
	}
	c, err := sign(ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: user}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		pair *pair
	}{{authority, ca}, {server, s}, {client, c}} {
		names, err := f.pair.write(filepath.Join(dir, f.name))
		if err != nil {
			return files, err
		}
		files = append(files, names...)
	}
	return files, nil
}

// sign makes a certificate that an authority signs; nil for one of its own.
func sign(by *pair, x *x509.Certificate, now time.Time) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if x.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	x.NotBefore, x.NotAfter, x.BasicConstraintsValid = now.Add(-time.Hour), now.AddDate(0, 0, Days), true
	if by == nil {
		by = &pair{x, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, x, by.x, key.Public(), by.key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s: %w", x.Subject, err)
	}
	if x, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read the certificate of %s again: %w", x.Subject, err)
	}
	return &pair{x, key}, nil
}

// write writes NAME.pem and NAME-key.pem.
func (p *pair) write(name string) (files []string, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", p.x.Subject, err)
	}
	for _, f := range []struct {
		name  string
		mode  fs.FileMode
		block pem.Block
	}{
		{name + ".pem", 0o644, pem.Block{Type: "CERTIFICATE", Bytes: p.x.Raw}},
		{name + "-key.pem", 0o600, pem.Block{Type: "PRIVATE KEY", Bytes: key}},
	} {
		to, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return files, fmt.Errorf("write %s: %w", f.name, err)
		}
		if err := errors.Join(pem.Encode(to, &f.block), to.Close()); err != nil {
			return files, fmt.Errorf("write %s: %w", f.name, err)
		}
		files = append(files, f.name)
	}
	return files, nil
}
