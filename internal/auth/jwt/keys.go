// Package jwt takes JSON Web Tokens (RFC 7519) as passwords: signed by whoever has
// the keys, so that the broker needs to know no users.
//
// Files, from the bottom up: keys.go, remote.go, jwt.go.
package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// key verifies signatures of some methods.
type key struct {
	id      string // "" if it has none
	methods []string
	value   any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// minSecret is the least length of a secret, in bytes: RFC 7518 section 3.2.
const minSecret = 32

// parseKeys reads public keys or certificates in PEM, a JWKS (RFC 7517), or a
// secret.
func parseKeys(text []byte) ([]key, error) {
	trimmed := bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN")):
		return parsePEM(trimmed)
	case bytes.HasPrefix(trimmed, []byte("{")):
		return parseJWKS(trimmed)
	case len(trimmed) < minSecret:
		return nil, fmt.Errorf("a secret of %d bytes is easy to guess; it has to have %d at least", len(trimmed), minSecret)
	}
	return []key{{methods: []string{"HS256", "HS384", "HS512"}, value: trimmed}}, nil
}

func parsePEM(text []byte) (keys []key, err error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		var public any
		switch block.Type {
		case "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				public = c.PublicKey
			}
		default:
			err = fmt.Errorf("%q in PEM is neither a public key nor a certificate", block.Type)
		}
		if err != nil {
			return nil, err
		}
		k, err := publicKey(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in the PEM file")
	}
	return keys, nil
}

// publicKey finds the methods of a public key.
func publicKey(public any) (key, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return key{}, fmt.Errorf("an RSA key of %d bits is too short; 2048 at least", k.N.BitLen())
		}
		return key{value: k, methods: []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}}, nil
	case *ecdsa.PublicKey:
		method := map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}[k.Curve]
		if method == "" {
			return key{}, errors.New("an EC key of a curve that tokens don't use")
		}
		return key{value: k, methods: []string{method}}, nil
	case ed25519.PublicKey:
		return key{value: k, methods: []string{"EdDSA"}}, nil
	}
	return key{}, fmt.Errorf("keys of type %T are not known", public)
}

// jwk is a key of a JWKS.
type jwk struct {
	Kty, Kid, Use, Crv, N, E, X, Y, K string
}

// parseJWKS reads {"keys": [...]}. Keys for something else than signatures, or of
// kinds that are not known, are left out, as RFC 7517 section 5 asks for.
func parseJWKS(text []byte) (keys []key, err error) {
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("JWKS: %w", err)
	}
	for i, j := range set.Keys {
		if j.Use != "" && j.Use != "sig" || !slices.Contains([]string{"RSA", "EC", "OKP", "oct"}, j.Kty) {
			continue
		}
		k, err := j.key()
		if err != nil {
			return nil, fmt.Errorf("key %d of the JWKS: %w", i+1, err)
		}
		k.id = j.Kid
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key for signatures in the JWKS")
	}
	return keys, nil
}

func (j *jwk) key() (key, error) {
	var bad error
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) == 0 {
			bad = errors.New("a value is missing, or not base64url")
		}
		return b
	}
	switch j.Kty {
	case "RSA":
		n, e := decode(j.N), new(big.Int).SetBytes(decode(j.E))
		if bad == nil && (!e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1) {
			bad = errors.New("the exponent is not one of RSA")
		}
		if bad != nil {
			return key{}, bad
		}
		return publicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e.Int64())})
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
		if curve == nil {
			return key{}, fmt.Errorf("the curve %q is not known", j.Crv)
		}
		x, y := decode(j.X), decode(j.Y)
		size := (curve.Params().BitSize + 7) / 8
		if bad == nil && (len(x) != size || len(y) != size) {
			bad = errors.New("the point has the wrong length")
		}
		if bad != nil {
			return key{}, bad
		}
		k, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return key{}, err
		}
		return publicKey(k)
	case "OKP":
		x := decode(j.X)
		if bad == nil && (j.Crv != "Ed25519" || len(x) != ed25519.PublicKeySize) {
			bad = errors.New("it is not of Ed25519")
		}
		if bad != nil {
			return key{}, bad
		}
		return publicKey(ed25519.PublicKey(x))
	}
	secret := decode(j.K)
	if bad == nil && len(secret) < minSecret {
		bad = fmt.Errorf("a secret of %d bytes is easy to guess; it has to have %d at least", len(secret), minSecret)
	}
	return key{value: secret, methods: []string{"HS256", "HS384", "HS512"}}, bad
}
