// Package scram is SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides of it: a client
// shows that it knows a password without sending it, and a server that it knows the
// user. The server keeps Credentials, from which nobody learns the password but by
// guessing. There is no channel binding, and names and passwords are compared byte by
// byte, without SASLprep: in ASCII that is the same.
//
// Files, from the bottom up: scram.go, message.go, server.go, client.go.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// Method is the name of the method, as MQTT's Authentication Method.
const Method = "SCRAM-SHA-256"

const (
	// MinIterations is what RFC 7677 asks for.
	MinIterations = 4096

	// MaxIterations is what a peer may ask for: about a second of processor time.
	MaxIterations = 5_000_000

	// Iterations are those of new Credentials: a tenth of a second on a small device.
	// Guess.
	Iterations = 15_000

	saltBytes = 16
	keyBytes  = sha256.Size
)

// Credentials are what a server keeps of a password.
type Credentials struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte // both of keyBytes
	ServerKey  []byte
}

// New makes Credentials with a new salt.
func New(password []byte) (Credentials, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	return Derive(password, salt, Iterations)
}

// Derive makes Credentials. Where only FIPS 140 is allowed, a salt of less than 16
// bytes is an error.
func Derive(password, salt []byte, iterations int) (Credentials, error) {
	salted, err := saltedPassword(password, salt, iterations)
	if err != nil {
		return Credentials{}, err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return Credentials{salt, iterations, stored[:], mac(salted, "Server Key")}, nil
}

// Matches reports whether they are those of a password.
func (c *Credentials) Matches(password []byte) bool {
	same, err := Derive(password, c.Salt, c.Iterations)
	return err == nil && hmac.Equal(same.StoredKey, c.StoredKey)
}

// MadeUp are Credentials for a user that is not there, always the same ones for a
// key. No password fits them.
func MadeUp(key []byte, user string, iterations int) Credentials {
	return Credentials{
		Salt:       mac(key, "salt "+user)[:saltBytes],
		Iterations: iterations,
		StoredKey:  mac(key, "stored "+user),
		ServerKey:  mac(key, "server "+user),
	}
}

// saltedPassword is SaltedPassword of RFC 5802.
func saltedPassword(password, salt []byte, iterations int) ([]byte, error) {
	return pbkdf2.Key(sha256.New, string(password), salt, iterations, keyBytes)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// newNonce returns 18 random bytes in base64.
func newNonce() string {
	b := make([]byte, 18)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
