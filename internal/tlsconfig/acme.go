package tlsconfig

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"slices"

	"midge/internal/settings"
)

// byACME reports whether a listener shows the certificates that are got by ACME. Who gets them,
// package acme or another broker with the same directory, writes files there, and that is all that
// is known of it here.
func byACME(s *settings.TLS) bool { return len(s.Certificate) == 0 && len(s.ACME.Domains) > 0 }

var errNotYet = errors.New("no certificate has been got yet")

// addACME adds the certificates that have been got so far.
func (b *built) addACME(s *settings.TLS) error {
	b.acme = &s.ACME
	for _, domain := range s.ACME.Domains {
		name := s.ACME.CertificateFile(domain)
		certificate, err := pair(name, "tls.acme.cache", name, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		b.config.Certificates = append(b.config.Certificates, certificate)
		b.certificates = append(b.certificates, certificate.Leaf)
	}
	if len(b.config.Certificates) == 0 {
		b.config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNotYet }
	}
	return nil
}

// challenge is the configuration for an authority that looks whether a name is ours, nil for
// anybody else. It has no certificate of a client; so the connection must end with the
// handshake, as tlslayer has it.
func (b *built) challenge(hello *tls.ClientHelloInfo) *tls.Config {
	if b.acme == nil || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != settings.ACMEProtocol || !slices.Contains(b.acme.Domains, hello.ServerName) {
		return nil
	}
	name := b.acme.ChallengeFile(hello.ServerName)
	certificate, err := pair(name, "tls.acme.cache", name, false)
	if err != nil {
		return nil // nobody asks; the handshake fails because no protocol fits
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: hello.SupportedProtos, Certificates: []tls.Certificate{certificate},
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
}
