package hook

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"

	"midge/internal/auth"
	"midge/internal/packet"
)

// question is what the service is asked. What does not apply is left out.
type question struct {
	Action   string `json:"action"` // connect, publish or subscribe
	ClientID string `json:"client_id"`
	Assigned bool   `json:"assigned,omitempty"` // the client identifier is one of the broker's
	User     string `json:"user,omitempty"`
	Address  string `json:"address,omitempty"` // of the client; none: a Unix socket
	Listener string `json:"listener"`

	// Of connect:
	Password    *string      `json:"password,omitempty"`
	Binary      *string      `json:"password_base64,omitempty"` // instead, if it is no text
	Protocol    string       `json:"protocol,omitempty"`
	Certificate *certificate `json:"certificate,omitempty"` // that the client has shown and that was verified

	// Of publish and subscribe:
	Groups []string `json:"groups,omitempty"`
	Topic  string   `json:"topic,omitempty"` // or a topic filter
	QoS    *uint8   `json:"qos,omitempty"`
	Retain *bool    `json:"retain,omitempty"`
}

type certificate struct {
	CommonName  string   `json:"cn"`
	Subject     string   `json:"subject"`
	Issuer      string   `json:"issuer"`
	Serial      string   `json:"serial"` // hexadecimal
	SAN         []string `json:"san,omitempty"`
	Fingerprint string   `json:"sha256"` // hexadecimal
}

// connecting is the question about a CONNECT.
func connecting(r *auth.Request) []byte {
	q := question{
		Action: "connect", ClientID: r.ClientID, Assigned: r.Assigned, User: string(r.UserName), Listener: r.Listener,
		Address: addressOf(r), Protocol: protocol(r.Version),
	}
	if r.Password != nil {
		if text := string(r.Password); utf8.ValidString(text) {
			q.Password = &text
		} else {
			text = base64.StdEncoding.EncodeToString(r.Password)
			q.Binary = &text
		}
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		q.Certificate = certificateOf(r.TLS.VerifiedChains[0][0])
	}
	return q.encode()
}

func addressOf(r *auth.Request) string {
	if !r.Remote.IsValid() {
		return ""
	}
	return r.Remote.Addr().Unmap().String()
}

func protocol(v packet.Version) string {
	switch v {
	case packet.V31:
		return "3.1"
	case packet.V311:
		return "3.1.1"
	case packet.V5:
		return "5.0"
	}
	return ""
}

func certificateOf(c *x509.Certificate) *certificate {
	sum := sha256.Sum256(c.Raw)
	of := &certificate{
		CommonName: c.Subject.CommonName, Subject: c.Subject.String(), Issuer: c.Issuer.String(),
		Serial: c.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]),
	}
	of.SAN = append(append(of.SAN, c.DNSNames...), c.EmailAddresses...)
	for _, u := range c.URIs {
		of.SAN = append(of.SAN, u.String())
	}
	for _, a := range c.IPAddresses {
		of.SAN = append(of.SAN, a.String())
	}
	return of
}

func (q *question) encode() []byte {
	text, err := json.Marshal(q)
	if err != nil {
		panic("hook: a question is no JSON: " + err.Error()) // it has texts and numbers
	}
	return text
}
