package tlsrecord

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	ivBytes  = 12 // of the three suites
	tagBytes = 16

	maxSecret = sha512.Size384
	maxKey    = 32

	// gcmLimit is how many bytes are protected with one key of AES-GCM. Section 5.5
	// allows 2^24.5 full records; this is 2^24.
	gcmLimit = 1 << 24 * maxPlaintext
)

// suite is a cipher suite (RFC 8446 appendix B.4).
type suite struct {
	hash        func() hash.Hash
	secretBytes int
	keyBytes    int
	aead        func(key []byte) (cipher.AEAD, error)
	limit       uint64 // bytes that are protected with one key
}

var (
	aes128 = suite{sha256.New, sha256.Size, 16, newGCM, gcmLimit}
	aes256 = suite{sha512.New384, sha512.Size384, 32, newGCM, gcmLimit}
	chacha = suite{sha256.New, sha256.Size, chacha20poly1305.KeySize, chacha20poly1305.New, math.MaxUint64}
)

// suiteOf is the suite of an identifier.
func suiteOf(id uint16) (*suite, error) {
	if fips140.Enabled() {
		return nil, errors.New("FIPS 140 mode wants the nonces of AES-GCM to be made by its own module")
	}
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return &aes128, nil
	case tls.TLS_AES_256_GCM_SHA384:
		return &aes256, nil
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return &chacha, nil
	}
	return nil, fmt.Errorf("no cipher suite of TLS 1.3 that is known here: %s", tls.CipherSuiteName(id))
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1). It fills to.
func (s *suite) expandLabel(to, secret []byte, label string) {
	var info [2 + 1 + 6 + 12 + 1]byte
	b := binary.BigEndian.AppendUint16(info[:0], uint16(len(to)))
	b = append(b, byte(len("tls13 ")+len(label)))
	b = append(b, "tls13 "...)
	b = append(b, label...)
	b = append(b, 0)
	out, err := hkdf.Expand(s.hash, secret, string(b), len(to))
	if err != nil {
		panic("tlsrecord: " + err.Error()) // the lengths are ours
	}
	copy(to, out)
}
