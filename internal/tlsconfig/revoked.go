package tlsconfig

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// revoked are the certificates that lists have revoked, by issuer and serial number.
type revoked map[string]struct{}

func revokedKey(issuer []byte, serial interface{ Bytes() []byte }) string {
	return string(issuer) + "\x00" + string(serial.Bytes())
}

// readLists reads lists of revoked certificates. Each must be signed by one of the
// authorities.
func readLists(names []string, authorities []*x509.Certificate) (lists []*x509.RevocationList, all revoked, err error) {
	const key = "tls.crl"
	all = revoked{}
	for _, name := range names {
		b, err := read(key, name)
		if err != nil {
			return nil, nil, err
		}
		ders := [][]byte{b}
		if block, rest := pem.Decode(b); block != nil {
			ders = nil
			for ; block != nil; block, rest = pem.Decode(rest) {
				if block.Type == "X509 CRL" {
					ders = append(ders, block.Bytes)
				}
			}
		}
		if len(ders) == 0 {
			return nil, nil, fmt.Errorf("%s: %s has no list of revoked certificates", key, name)
		}
		for _, der := range ders {
			list, err := x509.ParseRevocationList(der)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: read the list in %s: %w", key, name, err)
			}
			if !signed(list, authorities) {
				return nil, nil, fmt.Errorf("%s: the list in %s, of %s, is not signed by an authority of tls.ca", key, name, list.Issuer)
			}
			lists = append(lists, list)
			for _, e := range list.RevokedCertificateEntries {
				all[revokedKey(list.RawIssuer, e.SerialNumber)] = struct{}{}
			}
		}
	}
	return lists, all, nil
}

func signed(list *x509.RevocationList, authorities []*x509.Certificate) bool {
	for _, a := range authorities {
		if bytes.Equal(a.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(a) == nil {
			return true
		}
	}
	return false
}

// verify refuses a connection whose client certificate, or an authority between it and
// the root, was revoked. It is called for resumed sessions too, for which Go verifies nothing else.
func (r revoked) verify(state tls.ConnectionState) error {
	for _, chain := range state.VerifiedChains {
		for _, x := range chain {
			if _, is := r[revokedKey(x.RawIssuer, x.SerialNumber)]; is {
				return fmt.Errorf("the certificate of %s, serial number %x, was revoked", x.Subject, x.SerialNumber)
			}
		}
	}
	return nil
}
