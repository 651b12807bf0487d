package scram

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
)

// header is the GS2 header of a client that does not bind to a channel.
const header = "n,,"

// Client is the client's side of an exchange.
type Client struct {
	password []byte
	bare     string // the first message without its header
	nonce    string
	expected []byte // the server's signature; nil before Final
}

// NewClient begins an exchange.
func NewClient(user string, password []byte) *Client { return newClient(user, password, newNonce()) }

func newClient(user string, password []byte, nonce string) *Client {
	return &Client{password: password, nonce: nonce, bare: "n=" + escapeName.Replace(user) + ",r=" + nonce}
}

// First returns the client's first message.
func (c *Client) First() []byte { return []byte(header + c.bare) }

// Final reads the server's first message, and returns the client's last one.
func (c *Client) Final(challenge []byte) ([]byte, error) {
	text, err := checkMessage(challenge)
	if err != nil {
		return nil, err
	}
	values, err := attributes(text, "rsi")
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(values[0], c.nonce) || len(values[0]) == len(c.nonce) {
		return nil, errors.New("the server's nonce does not begin with ours")
	}
	salt, err := decode("salt", values[1], 0)
	if err != nil {
		return nil, err
	}
	iterations, err := parseIterations(values[2])
	if err != nil {
		return nil, err
	}
	salted, err := saltedPassword(c.password, salt, iterations)
	if err != nil {
		return nil, err
	}
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	last := "c=" + encode([]byte(header)) + ",r=" + values[0]
	all := c.bare + "," + text + "," + last
	proof := make([]byte, keyBytes)
	subtle.XORBytes(proof, key, mac(stored[:], all))
	c.expected = mac(mac(salted, "Server Key"), all)
	return []byte(last + ",p=" + encode(proof)), nil
}

// Answered reports whether Final was called: what comes then is the server's last
// message.
func (c *Client) Answered() bool { return c.expected != nil }

// Verify reads the server's last message: whether it knows the password.
func (c *Client) Verify(final []byte) error {
	values, err := attributes(string(final), "v")
	if err != nil {
		return err
	}
	if got, err := decode("signature", values[0], keyBytes); err != nil || !hmac.Equal(got, c.expected) {
		return errors.New("the server does not know the password")
	}
	return nil
}
