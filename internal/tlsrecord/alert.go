package tlsrecord

import "fmt"

// Alert is the description of an alert (RFC 8446 section 6).
type Alert uint8

// The alerts that this package sends or knows. Others are errors like these.
const (
	CloseNotify       Alert = 0
	UnexpectedMessage Alert = 10
	BadRecordMAC      Alert = 20
	RecordOverflow    Alert = 22
	IllegalParameter  Alert = 47
	DecodeError       Alert = 50
	ProtocolVersion   Alert = 70
	UserCanceled      Alert = 90
)

// String is the name that the RFC gives it.
func (a Alert) String() string {
	switch a {
	case CloseNotify:
		return "close_notify"
	case UnexpectedMessage:
		return "unexpected_message"
	case BadRecordMAC:
		return "bad_record_mac"
	case RecordOverflow:
		return "record_overflow"
	case IllegalParameter:
		return "illegal_parameter"
	case DecodeError:
		return "decode_error"
	case ProtocolVersion:
		return "protocol_version"
	case UserCanceled:
		return "user_canceled"
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

// Violation is what the peer has done against the standard. It is to be told by the alert.
type Violation struct {
	Alert  Alert
	detail string
}

func violation(a Alert, format string, args ...any) error {
	return &Violation{a, fmt.Sprintf(format, args...)}
}

// Error implements error.
func (v *Violation) Error() string { return fmt.Sprintf("TLS: %s (%v)", v.detail, v.Alert) }

// Fatal is the error by which the peer has ended the connection.
type Fatal struct{ Alert Alert }

// Error implements error.
func (f *Fatal) Error() string { return fmt.Sprintf("TLS: the peer says %v", f.Alert) }
