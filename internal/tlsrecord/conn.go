package tlsrecord

import (
	"fmt"
	"io"
)

const (
	// maxUseless records or messages may follow each other without application data: they
	// cost work and bring nothing. As many as crypto/tls takes.
	maxUseless = 16

	// keyUpdate is the type of the one message that a server gets after the handshake
	// (section 4.6.3), and keyUpdateBytes its length: type, length, request.
	keyUpdate      = 24
	keyUpdateBytes = 5
)

// Conn is an established connection. It is for one goroutine at a time.
type Conn struct {
	in, out protection
	message [keyUpdateBytes]byte // as far as it is here
	got     uint8                // bytes of message
	useless uint8                // see maxUseless
	asked   bool                 // for a KeyUpdate of ours
}

// New makes the connection whose handshake has told s, with the cipher suite that was agreed
// on. The error says why that can't be.
func New(id uint16, s *Secrets) (*Conn, error) {
	suite, err := suiteOf(id)
	if err != nil {
		return nil, err
	}
	if len(s.client) != suite.secretBytes || len(s.server) != suite.secretBytes {
		return nil, fmt.Errorf("the handshake has not told the secrets of %d bytes", suite.secretBytes)
	}
	c := &Conn{in: protection{suite: suite}, out: protection{suite: suite}}
	c.in.begin(s.client)
	c.out.begin(s.server)
	if _, err := suite.aead(c.out.key[:suite.keyBytes]); err != nil {
		return nil, err
	}
	c.out.skip(s.sent)
	return c, nil
}

// Forget drops what can be made again: for a connection that is silent.
func (c *Conn) Forget() { c.in.aead, c.out.aead = nil, nil }

// Open decrypts a record, of which all is here, to the beginning of dst, which is at least
// as long. It returns the application data in it, none for other records. io.EOF says that the
// peer has ended its output, *Fatal that it has ended the connection, and *Violation that
// the caller must end it.
func (c *Conn) Open(dst, record []byte) (data []byte, err error) {
	typ, content, err := c.in.open(dst, record)
	switch {
	case err != nil:
		return nil, err
	case typ != handshake && c.got > 0: // section 5.1
		return nil, violation(UnexpectedMessage, "a record of type %d stands within a handshake message", typ)
	}
	switch typ {
	case applicationData:
		if len(content) == 0 {
			return nil, c.countUseless()
		}
		c.useless = 0
		return content, nil
	case handshake:
		return nil, c.takeHandshake(content)
	case alert:
		return nil, c.takeAlert(content)
	}
	return nil, violation(UnexpectedMessage, "a record is of type %d", typ)
}

func (c *Conn) countUseless() error {
	if c.useless++; c.useless > maxUseless {
		return violation(UnexpectedMessage, "more than %d records follow each other without data", maxUseless)
	}
	return nil
}

// takeAlert ends what the alert says (section 6). Its level means nothing.
func (c *Conn) takeAlert(content []byte) error {
	if len(content) != 2 {
		return violation(UnexpectedMessage, "an alert has %d bytes", len(content))
	}
	switch a := Alert(content[1]); a {
	case CloseNotify:
		return io.EOF
	case UserCanceled: // a close_notify follows (section 6.1)
		return c.countUseless()
	default:
		return &Fatal{a}
	}
}

// takeHandshake takes a part of a KeyUpdate, all of it most often. Nothing may follow it
// that the old key protects.
func (c *Conn) takeHandshake(content []byte) error {
	if len(content) == 0 { // section 5.1
		return violation(UnexpectedMessage, "a handshake record is empty")
	}
	n := copy(c.message[c.got:], content)
	c.got += uint8(n)
	m := c.message[:c.got]
	switch {
	case m[0] != keyUpdate:
		return violation(UnexpectedMessage, "there is a handshake message of type %d after the handshake", m[0])
	case len(m) >= 4 && (m[1] != 0 || m[2] != 0 || m[3] != 1):
		return violation(DecodeError, "a KeyUpdate has a length of %x", m[1:4])
	case n < len(content):
		return violation(UnexpectedMessage, "something stands behind a KeyUpdate in its record")
	case len(m) < keyUpdateBytes:
		return nil
	case m[4] > 1:
		return violation(IllegalParameter, "a KeyUpdate asks for %d", m[4])
	}
	c.got = 0
	c.asked = c.asked || m[4] == 1
	c.in.update()
	return c.countUseless()
}

// Seal appends the records that bring data to the peer. Before them it answers requests for a
// KeyUpdate, all at once, as section 4.6.3 allows: so they alone bring no output. It
// changes the key of its own accord when that has protected as much as it may.
func (c *Conn) Seal(dst, data []byte) []byte {
	for len(data) > 0 {
		if c.asked || c.out.protected >= c.out.suite.limit {
			dst = c.out.seal(dst, handshake, []byte{keyUpdate, 0, 0, 1, 0})
			c.out.update()
			c.asked = false
		}
		n := min(len(data), maxPlaintext)
		dst = c.out.seal(dst, applicationData, data[:n])
		data = data[n:]
	}
	return dst
}

// SealedBytes is at most how long Seal makes so many bytes.
func SealedBytes(n int) int {
	return n + (n/maxPlaintext+1)*(Overhead+Overhead+keyUpdateBytes)
}

// AppendAlert appends the record of an alert. Nothing may follow it.
func (c *Conn) AppendAlert(dst []byte, a Alert) []byte {
	const warning, fatal = 1, 2
	level := byte(fatal)
	if a == CloseNotify {
		level = warning
	}
	return c.out.seal(dst, alert, []byte{level, byte(a)})
}
