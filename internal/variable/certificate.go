package variable

import "crypto/x509"

// Certificate is what variables have of a client's certificate, without the
// certificate itself.
type Certificate struct {
	commonName, organization, unit string
	dns, email, uri                string
	serial                         string
}

// Of reads a certificate, which must have been verified.
func Of(c *x509.Certificate) *Certificate {
	first := func(all []string) string {
		if len(all) == 0 {
			return ""
		}
		return all[0]
	}
	v := &Certificate{
		commonName: c.Subject.CommonName, organization: first(c.Subject.Organization), unit: first(c.Subject.OrganizationalUnit),
		dns: first(c.DNSNames), email: first(c.EmailAddresses),
	}
	if len(c.URIs) > 0 {
		v.uri = c.URIs[0].String()
	}
	if c.SerialNumber != nil {
		v.serial = c.SerialNumber.Text(16)
	}
	return v
}

func (c *Certificate) value(n Name) string {
	if c == nil {
		return ""
	}
	switch n {
	case CommonName:
		return c.commonName
	case Organization:
		return c.organization
	case Unit:
		return c.unit
	case DNS:
		return c.dns
	case Email:
		return c.email
	case URI:
		return c.uri
	case Serial:
		return c.serial
	}
	return ""
}
