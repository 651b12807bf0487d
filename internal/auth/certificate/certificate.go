// Package certificate takes the user's name from the certificate that a client
// shows.
package certificate

import (
	"crypto/x509"
	"fmt"
	"strings"
	"unicode/utf8"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/packet"
)

// Link lets clients in whose certificate was verified, and leaves others to the
// next link. It is a link of an auth.Chain.
type Link struct{ From Name }

// Name is what of a certificate is the user's name.
type Name string

const (
	CommonName Name = "cn"      // of the subject
	SAN        Name = "san"     // the first subject alternative name: DNS, e-mail or URI, in this order
	Subject    Name = "subject" // all of it, as RFC 2253 writes it
)

// Check implements auth.Link.
func (l Link) Check(r *auth.Request, done func(auth.Answer)) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		done(auth.Answer{})
		return
	}
	user, err := l.From.of(r.TLS.VerifiedChains[0][0])
	if err != nil {
		done(auth.Answer{Decision: auth.Deny, Code: packet.NotAuthorized, Refusal: broker.WrongCredentials, Reason: err.Error()})
		return
	}
	done(auth.Answer{Decision: auth.Allow, User: user})
}

// of returns the name that a certificate has.
func (n Name) of(c *x509.Certificate) (name string, err error) {
	switch n {
	case CommonName:
		name = c.Subject.CommonName
	case Subject:
		name = c.Subject.String()
	case SAN:
		switch {
		case len(c.DNSNames) > 0:
			name = c.DNSNames[0]
		case len(c.EmailAddresses) > 0:
			name = c.EmailAddresses[0]
		case len(c.URIs) > 0:
			name = c.URIs[0].String()
		}
	}
	switch {
	case name == "":
		return "", fmt.Errorf("the client's certificate has no name of the kind %q: auth.certificate_user", string(n))
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return "", fmt.Errorf("the name of the kind %q in the client's certificate is not one that MQTT allows", string(n))
	}
	return name, nil
}
