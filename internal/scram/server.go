package scram

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// ErrWrong is the error for a client that does not know the password.
var ErrWrong = errors.New("the password is wrong")

// First is a client's first message.
type First struct {
	User string

	header string // GS2
	bare   string // the message without it
	nonce  string
}

// ParseFirst reads a client's first message.
func ParseFirst(message []byte) (f First, err error) {
	text, err := checkMessage(message)
	if err != nil {
		return f, err
	}
	parts := strings.SplitN(text, ",", 3)
	if len(parts) < 3 {
		return f, errors.New("the first message has no GS2 header")
	}
	binding, forWhom := parts[0], parts[1]
	f.header, f.bare = text[:len(text)-len(parts[2])], parts[2]
	switch {
	case strings.HasPrefix(binding, "p="):
		return f, ErrChannelBinding
	case binding != "n" && binding != "y":
		return f, errors.New("the first message has no GS2 header")
	}
	values, err := attributes(f.bare, "nr")
	if err != nil {
		return f, err
	}
	if f.User, err = unescapeName(values[0]); err != nil {
		return f, err
	}
	if f.nonce = values[1]; f.User == "" {
		return f, errors.New("the user name is empty")
	}
	if forWhom != "" && forWhom != "a="+values[0] {
		return f, errors.New("nobody may act for another user")
	}
	return f, checkNonce(f.nonce)
}

// Server is the server's side of an exchange that has begun.
type Server struct {
	first       First
	credentials Credentials
	nonce       string
	challenge   string // its first message
}

// Challenge begins an exchange. It returns the server's first message.
func (f First) Challenge(c Credentials) (*Server, []byte) { return f.challenge(c, newNonce()) }

func (f First) challenge(c Credentials, nonce string) (*Server, []byte) {
	s := &Server{first: f, credentials: c, nonce: f.nonce + nonce}
	s.challenge = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, encode(c.Salt), c.Iterations)
	return s, []byte(s.challenge)
}

// Finish reads the client's last message, and returns the server's. The error is
// ErrWrong if the client does not know the password.
func (s *Server) Finish(message []byte) (final []byte, err error) {
	text, err := checkMessage(message)
	if err != nil {
		return nil, err
	}
	at := strings.LastIndex(text, ",p=")
	if at < 0 {
		return nil, errors.New("the last message has no proof")
	}
	values, err := attributes(text[:at], "cr")
	if err != nil {
		return nil, err
	}
	proof, err := decode("proof", text[at+len(",p="):], keyBytes)
	switch {
	case err != nil:
		return nil, err
	case values[0] != encode([]byte(s.first.header)):
		return nil, errors.New("the last message has another GS2 header than the first one")
	case values[1] != s.nonce:
		return nil, errors.New("the last message has another nonce")
	}
	all := s.first.bare + "," + s.challenge + "," + text[:at]
	key := make([]byte, keyBytes)
	subtle.XORBytes(key, proof, mac(s.credentials.StoredKey, all))
	if stored := sha256.Sum256(key); !hmac.Equal(stored[:], s.credentials.StoredKey) {
		return nil, ErrWrong
	}
	return []byte("v=" + encode(mac(s.credentials.ServerKey, all))), nil
}
