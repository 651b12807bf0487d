package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"midge/internal/settings"
)

// built is what the files have given.
type built struct {
	config       *tls.Config
	compact      bool                // see Config.Compact
	certificates []*x509.Certificate // the server's
	lists        []*x509.RevocationList
	acme         *settings.ACME // where the certificates are from; nil: not from there
	revoked      revoked        // what they say
}

// build makes a configuration.
func build(s *settings.TLS, alpn []string) (*built, error) {
	b := &built{compact: s.RecordLayer == settings.CompactRecords, config: &tls.Config{DynamicRecordSizingDisabled: true, NextProtos: alpn, MinVersion: tls.VersionTLS12}}
	if s.MinVersion == "1.3" {
		b.config.MinVersion = tls.VersionTLS13
	}
	for _, name := range s.Ciphers {
		b.config.CipherSuites = append(b.config.CipherSuites, settings.Cipher(name))
	}
	add := b.addCertificates
	if byACME(s) {
		add = b.addACME
	}
	if err := add(s); err != nil {
		return nil, err
	}
	if s.UnknownName == settings.RefuseName {
		b.config.GetCertificate = b.byName
	}
	return b, b.addClients(s)
}

// byName is the certificate that has the name that a client asks for.
func (b *built) byName(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for i := range b.config.Certificates {
		if hello.SupportsCertificate(&b.config.Certificates[i]) == nil {
			return &b.config.Certificates[i], nil
		}
	}
	return nil, fmt.Errorf("no certificate has the name %q, or fits the client", hello.ServerName)
}

func (b *built) addCertificates(s *settings.TLS) error {
	switch {
	case len(s.Certificate) == 0:
		return errors.New("tls.certificate: a listener with TLS needs a certificate; to try it, 'midge cert dev' makes one")
	case len(s.Key) > 0 && len(s.Key) != len(s.Certificate):
		return fmt.Errorf("tls.key: there are %d keys for %d certificates", len(s.Key), len(s.Certificate))
	}
	for i, name := range s.Certificate {
		keyName, key := name, "tls.certificate"
		if len(s.Key) > 0 {
			keyName, key = s.Key[i], "tls.key"
		}
		certificate, err := pair(name, key, keyName, s.ReadableKeys)
		if err != nil {
			return err
		}
		b.config.Certificates = append(b.config.Certificates, certificate)
		b.certificates = append(b.certificates, certificate.Leaf)
	}
	if s.OCSPStaple == "" {
		return nil
	}
	staple, err := read("tls.ocsp_staple", s.OCSPStaple)
	if err != nil {
		return err
	}
	var response struct{ Status asn1.Enumerated }
	var raw asn1.RawValue
	if rest, err := asn1.Unmarshal(staple, &raw); err != nil || len(rest) > 0 || raw.Tag != asn1.TagSequence {
		return fmt.Errorf("tls.ocsp_staple: %s is no OCSP response in DER", s.OCSPStaple)
	}
	if _, err := asn1.Unmarshal(raw.Bytes, &response.Status); err != nil || response.Status != 0 {
		return fmt.Errorf("tls.ocsp_staple: the response in %s is not a successful one", s.OCSPStaple)
	}
	b.config.Certificates[0].OCSPStaple = staple
	return nil
}

// addClients adds what is asked of clients.
func (b *built) addClients(s *settings.TLS) error {
	var authorities []*x509.Certificate
	for _, name := range s.CA {
		pemBytes, err := read("tls.ca", name)
		if err != nil {
			return err
		}
		all, err := parse("tls.ca", name, pemBytes)
		if err != nil {
			return err
		}
		authorities = append(authorities, all...)
	}
	switch s.ClientCertificates {
	case settings.Optional:
		b.config.ClientAuth = tls.VerifyClientCertIfGiven
	case settings.Require:
		b.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if b.config.ClientAuth != tls.NoClientCert && len(authorities) == 0 {
		return fmt.Errorf("tls.client_certificates: %q needs the authorities that the certificates come from, in tls.ca", s.ClientCertificates)
	}
	b.config.ClientCAs = x509.NewCertPool()
	for _, a := range authorities {
		b.config.ClientCAs.AddCert(a)
	}
	lists, all, err := readLists(s.CRL, authorities)
	if err != nil {
		return err
	}
	b.revoked = all
	if b.lists = lists; len(lists) > 0 {
		b.config.VerifyConnection = all.verify
	}
	return nil
}
