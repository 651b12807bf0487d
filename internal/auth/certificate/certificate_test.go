package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"testing"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/engine"
)

// TestName takes each kind of name, from certificates that were verified only.
func TestName(t *testing.T) {
	full := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "alice", Organization: []string{"Plant"}},
		DNSNames: []string{"a.example", "b.example"}, EmailAddresses: []string{"alice@example"},
	}
	mail := &x509.Certificate{EmailAddresses: []string{"alice@example"}, URIs: []*url.URL{{Scheme: "urn", Opaque: "x"}}}
	uri := &x509.Certificate{URIs: []*url.URL{{Scheme: "urn", Opaque: "x"}}}
	for _, tt := range []struct {
		from  Name
		shown *x509.Certificate
		want  string // "" for a refusal
	}{
		{CommonName, full, "alice"},
		{SAN, full, "a.example"},
		{Subject, full, "CN=alice,O=Plant"},
		{SAN, mail, "alice@example"},
		{SAN, uri, "urn:x"},
		{CommonName, mail, ""},
		{SAN, &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}, ""},
		{CommonName, &x509.Certificate{Subject: pkix.Name{CommonName: "al\x00ice"}}, ""},
		{CommonName, &x509.Certificate{Subject: pkix.Name{CommonName: "al\xffice"}}, ""},
	} {
		c := &auth.Chain{Links: []auth.Link{Link{tt.from}}}
		state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.shown}}
		for _, verified := range []bool{false, true} {
			if verified {
				state.VerifiedChains = [][]*x509.Certificate{{tt.shown}}
			}
			want := tt.want
			if !verified {
				want = ""
			}
			c.Connect(broker.Request{Peer: engine.Peer{TLS: state}}, func(v broker.Verdict) {
				if v.Principal != want || v.Code.Failed() != (want == "") {
					t.Errorf("%s, verified=%t: %+v, want %q", tt.from, verified, v, want)
				}
			})
		}
		c.Connect(broker.Request{}, func(v broker.Verdict) {
			if v.Refusal != broker.NoCredentials {
				t.Errorf("without TLS: %+v", v)
			}
		})
	}
}
