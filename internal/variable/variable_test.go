package variable

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"testing"
)

func certified() *Client {
	uri, err := url.Parse("spiffe://plant/one")
	if err != nil {
		panic(err)
	}
	return &Client{User: "alice", ID: "phone", Listener: "tls", Certificate: Of(&x509.Certificate{
		Subject:  pkix.Name{CommonName: "Alice A", Organization: []string{"Plant", "Other"}, OrganizationalUnit: []string{"north"}},
		DNSNames: []string{"a.example", "b.example"}, EmailAddresses: []string{"a@example"}, URIs: []*url.URL{uri}, SerialNumber: big.NewInt(0xabc),
	})}
}

// TestFill puts values in the places of variables.
func TestFill(t *testing.T) {
	for _, tt := range []struct{ text, unfit, want string }{
		{"%u-%c@%l", "", "alice-phone@tls"},
		{"%{cn}|%{o}|%{ou}|%{san_dns}|%{san_email}|%{san_uri}|%{serial}", "", "Alice A|Plant|north|a.example|a@example|spiffe://plant/one|abc"},
		{"%%u%x%", "", "%alice%x%"},
		{"a/b", "/", "a/b"}, // of values only
		{"", "", ""},
		{"%u%u", "", "alicealice"},
	} {
		parsed, err := Parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
		if got, err := parsed.Fill(certified(), tt.unfit); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	for text, c := range map[string]*Client{
		"x%u": {ID: "c"}, "%c": {User: "u"}, "%{cn}": {User: "u"}, "%{san_dns}": {Certificate: Of(&x509.Certificate{})}, "%{serial}": {Certificate: Of(&x509.Certificate{})},
	} {
		parsed, _ := Parse(text)
		if got, err := parsed.Fill(c, ""); err == nil || !strings.Contains(err.Error(), "has no %") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	parsed, _ := Parse("%{san_uri}")
	if _, err := parsed.Fill(certified(), "/+#"); err == nil || err.Error() != `%{san_uri} of the client has '/' in it` {
		t.Error(err)
	}
}

// TestParse refuses what looks like a variable and is none, unless only some are known.
func TestParse(t *testing.T) {
	for _, bad := range []string{"%{", "%{cn", "%{CN}", "x%{foo}y", "%{}", "%u%{u}", "%{\xff}"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
		if parsed, err := Parse(bad, User); err != nil || strings.HasPrefix(bad, "%u") != (parsed.Variables() == 1) {
			t.Errorf("%q: %v, %v", bad, parsed, err)
		}
	}
	parsed, err := Parse("%u%c%l", ClientID)
	if err != nil || !parsed.Has(ClientID) || parsed.Has(User) || parsed.Variables() != 1 {
		t.Errorf("%v, %v", parsed, err)
	}
}

// FuzzParse fills in whatever can be read.
func FuzzParse(f *testing.F) {
	f.Add("%u/%{cn}-%%x%{o}")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		var back strings.Builder
		for _, p := range parsed {
			if p.Name == None {
				back.WriteString(p.Text)
			} else {
				back.WriteString(p.Name.String())
			}
		}
		if back.String() != text {
			t.Errorf("%q is read as %q", text, back.String())
		}
		if _, err := parsed.Fill(certified(), ""); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
