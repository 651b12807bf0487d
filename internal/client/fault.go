package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"midge/internal/packet"
)

// Refused is a broker's answer with a reason code that stands for a failure.
type Refused struct {
	Reason packet.ReasonCode
	Text   string // the reason string, "" if the broker gave none
}

// Error returns the reason in words.
func (r *Refused) Error() string {
	text := fmt.Sprintf("%s (0x%02x)", r.Reason, uint8(r.Reason))
	if r.Text != "" {
		text += ": " + r.Text
	}
	return text
}

// Faults without a content of their own.
var (
	errEnded  = errors.New("the connection has ended")
	errClosed = errors.New("the broker closed the connection")
)

// stranger is what something that isn't an MQTT broker said first.
type stranger struct{ first []byte }

func (s *stranger) Error() string { return "not an MQTT broker: " + describe(s.first) }

// explain says in words why a connection could not be opened.
func (c *conn) explain(o *Options, err error) error {
	var refused *Refused
	var other *stranger
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("connect to %s: refused: %w", o.Address, refused)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("connect to %s: no CONNACK in time: is this an MQTT broker?", o.Address)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("connect to %s: %w", o.Address, context.Canceled)
	case errors.As(err, &other):
		return fmt.Errorf("connect to %s: %w", o.Address, other)
	case ended(err):
		hint := fmt.Sprintf("; it may not know MQTT %s, or expect TLS", versionName(o.Version))
		if c.encrypted {
			hint = fmt.Sprintf("; it may not know MQTT %s, or want a client certificate", versionName(o.Version))
		}
		return fmt.Errorf("connect to %s: closed without an answer to CONNECT%s", o.Address, hint)
	}
	return fmt.Errorf("connect to %s: %w", o.Address, reword(err))
}

// answersMQTT reports whether a broker's first packet can begin with b: CONNACK
// or AUTH.
func answersMQTT(b byte) bool {
	t := packet.TypeOf(b)
	return (t == packet.CONNACK || t == packet.AUTH) && b&0x0f == 0
}

// describe tells what a stranger said first.
func describe(first []byte) string {
	const alert, handshake = 0x15, 0x16 // TLS record types
	if (first[0] == alert || first[0] == handshake) && len(first) > 1 && first[1] == 3 {
		return "it speaks TLS; use mqtts:// (or wss://)"
	}
	line, _, _ := strings.Cut(string(first), "\n")
	return fmt.Sprintf("it answered %q", strings.TrimRight(line, "\r"))
}

// ended reports whether err says that the other side closed the connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// reword turns the errors of the network that users meet into words.
func reword(err error) error {
	var name *net.DNSError
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var remote *net.OpError
	switch {
	case err == nil:
		return errClosed
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Errorf("no such host: %s", name.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused: nothing listens there")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer in time")
	case errors.As(err, &record):
		if first := record.RecordHeader[:]; first[0] != 0 {
			return fmt.Errorf("it does not speak TLS: %s", describe(first))
		}
		return errors.New("it does not speak TLS")
	case errors.As(err, &unknown):
		return fmt.Errorf("%w (name the authority's file with --cafile, or accept anything with --insecure)", err)
	case errors.As(err, &remote) && remote.Op == "remote error": // of crypto/tls: an alert
		return fmt.Errorf("the broker refused the TLS connection: %w", remote.Err)
	case ended(err):
		return errClosed
	}
	return err
}

// versionName returns the version as users write it.
func versionName(v packet.Version) string {
	switch v {
	case packet.V31:
		return "3.1"
	case packet.V311:
		return "3.1.1"
	}
	return "5.0"
}
