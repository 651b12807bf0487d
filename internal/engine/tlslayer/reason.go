package tlslayer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
)

// Reason is why a handshake has failed.
type Reason int

const (
	PlainMQTT     Reason = iota // CONNECT without TLS
	PlainHTTP                   // a request of HTTP without TLS
	NotTLS                      // anything else that is no TLS
	Version                     // no version of TLS in common
	Parameters                  // no cipher, curve or protocol in common
	NoCertify                   // the client has no certificate, and must
	Certificate                 // the client's certificate was refused
	RefusedByPeer               // the client has refused, our certificate most often
	Gone                        // the client went away
	Late                        // the shard closed the connection: it took too long
	Displaced                   // too many were under way
	Other                       // anything else
	reasons       = int(Other) + 1
)

// String is the reason in the words of a counter's name.
func (r Reason) String() string {
	return [reasons]string{
		"plain mqtt", "plain http", "no tls", "version", "parameters", "no certificate", "certificate", "refused by client",
		"client gone", "late", "displaced", "other",
	}[r]
}

// Explain is what to do about it, "" if there is nothing.
func (r Reason) explain() string {
	switch r {
	case PlainMQTT:
		return "a client speaks MQTT without TLS to a TLS listener: its address must begin with mqtts:// or ssl://, or its TLS be switched on"
	case PlainHTTP:
		return "a client speaks HTTP without TLS to a TLS listener: its address must begin with wss:// or https://"
	case RefusedByPeer:
		return "the client has refused the handshake; most often it doesn't trust the authority of the server's certificate, or looks for another name in it"
	}
	return ""
}

// errNotTLS is the error of peers that don't begin with TLS.
var errNotTLS = errors.New("the first bytes are not TLS")

// errNoConfig is the error of a listener that has lost its configuration.
var errNoConfig = errors.New("the listener has no TLS any more")

// errDisplaced is the error of a handshake that had to make room for others.
var errDisplaced = errors.New("too many handshakes are under way, and this one has waited longest for its peer")

// plainReason is what a peer speaks that does not begin with TLS.
func plainReason(b []byte) Reason {
	for _, method := range []string{"GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "CONNECT ", "DELETE "} {
		if bytes.HasPrefix(b, []byte(method)) {
			return PlainHTTP
		}
	}
	if b[0] == 0x10 { // CONNECT
		return PlainMQTT
	}
	return NotTLS
}

// reasonOf is why a handshake of crypto/tls has failed. Most of its errors have no
// type.
func reasonOf(err error) Reason {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return RefusedByPeer
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Certificate
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return NotTLS
	}
	text := err.Error()
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case errors.Is(err, errDisplaced):
		return Displaced
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Gone
	case has("unsupported versions", "protocol version"):
		return Version
	case has("didn't provide a certificate"):
		return NoCertify
	case invalid, has("certificate"):
		return Certificate
	case has("no cipher suite", "no supported", "application protocol", "no mutually", "no ECDHE", "curve", "key share"):
		return Parameters
	}
	return Other
}
