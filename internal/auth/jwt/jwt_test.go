package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/packet"
)

const secret = "a secret of more than thirty-two bytes"

// signer is a key with the method that it signs with.
type signer struct {
	method  jwt.SigningMethod
	private any
	public  crypto.PublicKey // nil: a secret
}

func signers(t testing.TB) (all []signer) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, signer{jwt.SigningMethodHS256, []byte(secret), nil}, signer{jwt.SigningMethodHS512, []byte(secret), nil},
		signer{jwt.SigningMethodRS256, r, &r.PublicKey}, signer{jwt.SigningMethodPS384, r, &r.PublicKey})
	for _, m := range []struct {
		curve  elliptic.Curve
		method jwt.SigningMethod
	}{{elliptic.P256(), jwt.SigningMethodES256}, {elliptic.P384(), jwt.SigningMethodES384}, {elliptic.P521(), jwt.SigningMethodES512}} {
		k, err := ecdsa.GenerateKey(m.curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, signer{m.method, k, &k.PublicKey})
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, signer{jwt.SigningMethodEdDSA, private, public})
}

func (s *signer) pem(t testing.TB) string {
	t.Helper()
	if s.public == nil {
		return secret + "\n"
	}
	der, err := x509.MarshalPKIXPublicKey(s.public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// jwk is the key as a JWKS has it.
func (s *signer) jwk(t testing.TB, id string) map[string]string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := s.public.(type) {
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": id, "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		n := len(point) / 2
		return map[string]string{"kty": "EC", "kid": id, "crv": k.Curve.Params().Name, "x": b64(point[1 : 1+n]), "y": b64(point[1+n:])}
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "kid": id, "crv": "Ed25519", "x": b64(k)}
	}
	return map[string]string{"kty": "oct", "kid": id, "k": b64([]byte(secret))}
}

func (s *signer) sign(t testing.TB, id string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(s.method, claims)
	if id != "" {
		token.Header["kid"] = id
	}
	text, err := token.SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func good() jwt.MapClaims {
	return jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
}

func link(t testing.TB, keys string) *Link {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Keys: name, User: "sub", Groups: "groups", Rules: "rules"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func check(l *Link, password string) (a auth.Answer) {
	l.Check(&auth.Request{ClientID: "c", UserName: []byte("whoever"), Password: []byte(password)}, func(got auth.Answer) { a = got })
	return a
}

// TestMethods verifies each method with keys in PEM and in a JWKS, and refuses each
// token with the keys of all others.
func TestMethods(t *testing.T) {
	all := signers(t)
	var tokens []string
	for i, s := range all {
		tokens = append(tokens, s.sign(t, fmt.Sprint(i), good()))
	}
	for i, s := range all {
		set, err := json.Marshal(map[string]any{"keys": []map[string]string{{"kty": "future"}, s.jwk(t, fmt.Sprint(i))}})
		if err != nil {
			t.Fatal(err)
		}
		for kind, keys := range map[string]string{"PEM": s.pem(t), "JWKS": string(set)} {
			l := link(t, keys)
			for j, token := range tokens {
				a := check(l, token)
				same := i == j || kind == "PEM" && fmt.Sprint(all[i].public) == fmt.Sprint(all[j].public)
				if same != (a.Decision == auth.Allow) || same && (a.User != "alice" || a.Expires.IsZero()) || !same && a.Refusal != broker.WrongCredentials {
					t.Errorf("%s: the token of %s with the key of %s: %+v", kind, all[j].method.Alg(), s.method.Alg(), a)
				}
			}
		}
	}
}

// TestClaims looks at what tokens say.
func TestClaims(t *testing.T) {
	s := signer{jwt.SigningMethodHS256, []byte(secret), nil}
	l := link(t, secret)
	with := func(name string, value any) jwt.MapClaims {
		c := good()
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	for _, tt := range []struct {
		name     string
		password string
		decision auth.Decision
		reason   string
	}{
		{"good", s.sign(t, "", good()), auth.Allow, ""},
		{"no token", "secret", auth.Next, ""},
		{"dots", "a.b.c", auth.Next, ""},
		{"expired", s.sign(t, "", with("exp", time.Now().Add(-time.Minute).Unix())), auth.Deny, "expired"},
		{"no end", s.sign(t, "", with("exp", nil)), auth.Deny, "not valid"},
		{"not yet", s.sign(t, "", with("nbf", time.Now().Add(time.Hour).Unix())), auth.Deny, "not valid yet"},
		{"no user", s.sign(t, "", with("sub", nil)), auth.Deny, "no user"},
		{"a number as user", s.sign(t, "", with("sub", 7)), auth.Deny, "no user"},
		{"client", s.sign(t, "", with("client_id", "c")), auth.Allow, ""},
		{"another client", s.sign(t, "", with("client_id", "d")), auth.Deny, "another client"},
		{"a number as client", s.sign(t, "", with("client_id", 1)), auth.Deny, "another client"},
		{"nothing in it", "eyJ.eyJ.x", auth.Deny, "not valid"},
		{"changed", s.sign(t, "", good()) + "x", auth.Deny, "not valid"},
		{"too long", s.sign(t, "", with("x", strings.Repeat("x", maxToken))), auth.Deny, "too long"},
		{"no signature", strings.TrimRight((&signer{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil}).sign(t, "", good()), "\n"), auth.Deny, "not valid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a := check(l, tt.password); a.Decision != tt.decision || !strings.Contains(a.Reason, tt.reason) {
				t.Errorf("%+v", a)
			}
		})
	}
	if a := check(l, s.sign(t, "", with("groups", []string{"g", "h"}))); len(a.Groups) != 2 || a.Groups[1] != "h" {
		t.Errorf("groups %q", a.Groups)
	}
	if a := check(l, s.sign(t, "", with("client_id", "d"))); a.Code != packet.ClientIdentifierNotValid || a.Refusal != broker.ForeignIdentifier {
		t.Errorf("another client: %+v", a)
	}
}

// TestConfusion refuses a token that is signed with a public key as the secret.
func TestConfusion(t *testing.T) {
	for _, s := range signers(t) {
		if s.public == nil {
			continue
		}
		l := link(t, s.pem(t))
		for _, used := range []string{s.pem(t), strings.TrimSpace(s.pem(t))} {
			forged := signer{jwt.SigningMethodHS256, []byte(used), nil}
			if a := check(l, forged.sign(t, "", good())); a.Decision != auth.Deny {
				t.Errorf("%s: %+v", s.method.Alg(), a)
			}
		}
	}
}

// TestKeys refuses files without a key that is of use, and keeps the old keys then.
func TestKeys(t *testing.T) {
	for keys, want := range map[string]string{
		"":                  "easy to guess",
		"short":             "easy to guess",
		"-----BEGIN X-----": "no key",
		`{"keys": []}`:      "no key",
		`{"keys": [`:        "JWKS",
		`{"keys": [{"kty":"oct","k":"c2hvcnQ"}]}`:                                                                            "easy to guess",
		`{"keys": [{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`:                                                                    "too short",
		`{"keys": [{"kty":"RSA","n":"AQAB"}]}`:                                                                               "missing",
		`{"keys": [{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}]}`:                                                       "wrong length",
		`{"keys": [{"kty":"EC","crv":"secp256k1","x":"AQ","y":"AQ"}]}`:                                                       "not known",
		`{"keys": [{"kty":"OKP","crv":"X25519","x":"AQAB"}]}`:                                                                "Ed25519",
		`{"keys": [{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`: "",
	} {
		if _, err := parseKeys([]byte(keys)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", keys, err, want)
		}
	}
	l := link(t, secret)
	s := signer{jwt.SigningMethodHS256, []byte(secret), nil}
	if err := os.WriteFile(l.options.Keys, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(); err == nil || !strings.Contains(err.Error(), l.options.Keys) {
		t.Errorf("reload: %v", err)
	}
	if a := check(l, s.sign(t, "", good())); a.Decision != auth.Allow {
		t.Errorf("after a reload that failed: %+v", a)
	}
	if err := os.WriteFile(l.options.Keys, []byte(strings.ToUpper(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(); err != nil {
		t.Fatal(err)
	}
	if a := check(l, s.sign(t, "", good())); a.Decision != auth.Deny {
		t.Errorf("after another secret: %+v", a)
	}
}

// FuzzToken proves that no token and no file of keys panics.
func FuzzToken(f *testing.F) {
	s := signer{jwt.SigningMethodHS256, []byte(secret), nil}
	f.Add([]byte(secret), s.sign(f, "k", good()))
	for _, s := range signers(f)[2:] {
		f.Add([]byte(s.pem(f)), s.sign(f, "", good()))
		set, _ := json.Marshal(map[string]any{"keys": []map[string]string{s.jwk(f, "k")}})
		f.Add(set, s.sign(f, "k", good()))
	}
	f.Fuzz(func(t *testing.T, text []byte, token string) {
		keys, err := parseKeys(text)
		if err != nil {
			return
		}
		l := &Link{options: Options{User: "sub", Groups: "groups", Rules: "rules"}}
		l.keys.Store(&keys)
		check(l, token)
	})
}
