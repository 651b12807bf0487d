package scram

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxMessage is how long a message may be, in bytes. Names of users have up to 65,535 in MQTT, and
// nobody has one like that.
const maxMessage = 4096

// ErrChannelBinding is the error for a client that insists on channel binding.
var ErrChannelBinding = errors.New("channel binding is not supported")

// attributes cuts a message into its attributes, which have to begin with these names
// in their order. Extensions behind them are ignored, but for mandatory ones
// (RFC 5802 section 5.1).
func attributes(message, names string) (values []string, err error) {
	all := strings.Split(message, ",")
	if len(all) < len(names) {
		return nil, fmt.Errorf("the message ends before the attribute %c", names[len(all)])
	}
	for i, a := range all {
		switch {
		case len(a) < 2 || a[1] != '=':
			return nil, errors.New("an attribute is not of the form a=value")
		case a[0] == 'm':
			return nil, errors.New("an extension is asked for that is not known")
		case i >= len(names):
		case a[0] != names[i]:
			return nil, fmt.Errorf("the attribute %c is missing", names[i])
		default:
			values = append(values, a[2:])
		}
	}
	return values, nil
}

// checkMessage looks at what all messages have in common.
func checkMessage(message []byte) (string, error) {
	switch {
	case len(message) > maxMessage:
		return "", fmt.Errorf("the message has %d bytes; %d is the most", len(message), maxMessage)
	case !utf8.Valid(message) || strings.ContainsRune(string(message), 0):
		return "", errors.New("the message is not UTF-8 without zeros")
	}
	return string(message), nil
}

// checkNonce looks at a nonce: printable ASCII.
func checkNonce(nonce string) error {
	for i := range len(nonce) {
		if nonce[i] < 0x21 || nonce[i] > 0x7e {
			return errors.New("the nonce is not of printable characters")
		}
	}
	if nonce == "" {
		return errors.New("the nonce is empty")
	}
	return nil
}

var escapeName = strings.NewReplacer("=", "=3D", ",", "=2C")

// unescapeName reads a saslname.
func unescapeName(s string) (name string, err error) {
	for {
		before, after, found := strings.Cut(s, "=")
		name += before
		if !found {
			return name, nil
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			name += ","
		case strings.HasPrefix(after, "3D"):
			name += "="
		default:
			return "", errors.New("the user name has = that is not =2C or =3D")
		}
		s = after[2:]
	}
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decode reads base64 of so many bytes; 0: one at least.
func decode(what, s string, size int) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || size > 0 && len(b) != size {
		return nil, fmt.Errorf("the %s is not base64 of the right size", what)
	}
	return b, nil
}

// parseIterations reads an iteration count.
func parseIterations(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < MinIterations || n > MaxIterations {
		return 0, fmt.Errorf("%q iterations are outside %d to %d", s, MinIterations, MaxIterations)
	}
	return n, nil
}
