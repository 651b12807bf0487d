package settings

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// ACME says from which authority certificates are got, and for which names.
type ACME struct {
	Domains   []string
	Email     string
	Directory string
	Cache     string
	CA        string
	HTTP      string
}

// ACMEProtocol is what an authority asks for by ALPN that looks whether a name is ours (RFC 8737).
const ACMEProtocol = "acme-tls/1"

// CertificateFile is where the certificate for a name is, and its key.
func (a *ACME) CertificateFile(domain string) string { return filepath.Join(a.Cache, domain) }

// ChallengeFile is where the certificate is that shows an authority that a name is ours, as long
// as it asks.
func (a *ACME) ChallengeFile(domain string) string {
	return filepath.Join(a.Cache, domain+"+token")
}

func acmeSection() Section {
	return Section{Name: "tls.acme", Doc: "Certificates that are got from an authority by ACME (RFC 8555), such as Let's Encrypt, and renewed: see [TLS](../tls.md#certificates-from-lets-encrypt).", Settings: []Setting{
		{
			Key: "tls.acme.domains", At: func(c *Settings) any { return &c.TLS.ACME.Domains },
			Default: []string{}, Zero: "nothing is got", Check: checkDomain,
			Doc:    "The names to get a certificate for, one each, such as `broker.example.org`. Listeners with TLS that have no `tls.certificate` show them; a client that asks for another name gets what `tls.unknown_name` says. To write a name here is to agree to the authority's terms.",
			Reason: "Only you know what the broker is called.",
		}, {
			Key: "tls.acme.email", At: func(c *Settings) any { return &c.TLS.ACME.Email },
			Default: "", Zero: "none",
			Doc:    "Where the authority may write to.",
			Reason: "It is not needed.",
		}, {
			Key: "tls.acme.directory", At: func(c *Settings) any { return &c.TLS.ACME.Directory },
			Default: "https://acme-v02.api.letsencrypt.org/directory", Check: checkDirectory,
			Doc:    "The URL of the authority's directory.",
			Reason: "Let's Encrypt is the one that most use.",
		}, {
			Key: "tls.acme.cache", At: func(c *Settings) any { return &c.TLS.ACME.Cache },
			Default: "midge-acme",
			Doc:     "The directory for the certificates, their keys and the key of the account; files in it are the broker's alone (0600). Who loses it asks for all of them anew, which authorities allow a few times a week.",
			Reason:  "A directory of the working directory, as that of the data.",
		}, {
			Key: "tls.acme.ca", At: func(c *Settings) any { return &c.TLS.ACME.CA },
			Default: "", Zero: "those of the system",
			Doc:    "A PEM file with the authorities that the directory's own certificate comes from, for an authority of your own.",
			Reason: "The system knows the public ones.",
		}, {
			Key: "tls.acme.http", At: func(c *Settings) any { return &c.TLS.ACME.HTTP },
			Default: "", Zero: "no", Check: checkHostPort,
			Doc:    "An address, such as `:80`, where the broker answers the authority by HTTP as well (HTTP-01): it asks on port 80 of the name. Without it, it asks on port 443 by TLS (TLS-ALPN-01), where a listener with TLS must be, or a port that leads to one.",
			Reason: "A port that nobody needs is not open.",
		},
	}}
}

func checkDomain(text string) error {
	if ok, _ := regexp.MatchString(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])$`, text); !ok || len(text) > 253 {
		return fmt.Errorf("%q is no name that a certificate can be got for; write it in full and in small letters, such as \"broker.example.org\"", text)
	}
	return nil
}

func checkDirectory(text string) error {
	if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || strings.Contains(text, "@") {
		return fmt.Errorf("%q is no URL of a directory; it begins with https://", text)
	}
	return nil
}

func checkHostPort(text string) error {
	if _, _, err := net.SplitHostPort(text); err != nil {
		return fmt.Errorf("%q is no address; write host:port, such as \":80\"", text)
	}
	return nil
}
