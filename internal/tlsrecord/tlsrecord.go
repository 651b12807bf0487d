// Package tlsrecord is what remains of TLS 1.3 once the handshake is over: the record
// protocol (RFC 8446 section 5), key updates (4.6.3, 7.2) and alerts (6), for the server's
// end of a connection. Package crypto/tls shakes hands and tells the traffic secrets (Secrets);
// from then on a Conn encrypts and decrypts records in memory that the caller has. A Conn
// is 288 bytes; while records come and go it has two ciphers besides, 1.6 kB, which
// Forget drops.
//
// Not here: everything in and before the handshake, TLS 1.2, early data, and a client's
// end, which would have to take session tickets.
//
// Files, from the bottom up: tlsrecord.go, alert.go, suite.go, protection.go,
// secrets.go, conn.go.
package tlsrecord

import "encoding/binary"

const (
	headerBytes = 5 // of a record: type, version, length

	maxPlaintext  = 1 << 14            // section 5.1
	maxCiphertext = maxPlaintext + 256 // section 5.2

	// Overhead is what a record takes beside its content, in bytes, without padding.
	Overhead = headerBytes + 1 + tagBytes

	// MaxRecord is the largest record, and MaxContent the most application data in one, in
	// bytes.
	MaxRecord  = headerBytes + maxCiphertext
	MaxContent = maxPlaintext
)

// contentType is what is in a record (section 5.1).
type contentType uint8

const (
	alert           contentType = 21
	handshake       contentType = 22
	applicationData contentType = 23
)

// length is that of what follows a header.
func length(header []byte) int { return int(binary.BigEndian.Uint16(header[3:])) }
