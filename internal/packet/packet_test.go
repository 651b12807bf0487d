package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// appender is what every packet struct but Connect is.
type appender interface {
	Append(dst []byte, v Version) []byte
}

// connect makes an appender of Connect, which knows its version itself.
type connect struct{ *Connect }

func (c connect) Append(dst []byte, _ Version) []byte { return c.Connect.Append(dst) }

// decode decodes a packet of any type.
func decode(v Version, first byte, body []byte) (appender, error) {
	type decoder interface {
		appender
		Decode(v Version, first byte, body []byte) error
	}
	var p decoder
	switch t := TypeOf(first); t {
	case CONNECT:
		c := new(Connect)
		return connect{c}, c.Decode(first, body)
	case CONNACK:
		p = new(Connack)
	case PUBLISH:
		p = new(Publish)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p = new(Ack)
	case SUBSCRIBE:
		p = new(Subscribe)
	case SUBACK:
		p = new(Suback)
	case UNSUBSCRIBE:
		p = new(Unsubscribe)
	case UNSUBACK:
		p = new(Unsuback)
	case PINGREQ:
		p = new(Pingreq)
	case PINGRESP:
		p = new(Pingresp)
	case DISCONNECT:
		p = new(Disconnect)
	case AUTH:
		p = new(Auth)
	default:
		return nil, CheckFirst(v, first)
	}
	return p, p.Decode(v, first, body)
}

// unhex reads hexadecimal digits; blanks don't count, and 'text' in quotes
// stands for a UTF-8 Encoded String with its length.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = appendBinary(out, []byte(part))
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("hex of %q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

func TestSplit(t *testing.T) {
	big := append([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 0)
	for _, tt := range []struct {
		name  string
		b     []byte
		limit int
		size  int
		code  ReasonCode // 0: no fault
	}{
		{"nothing", nil, 100, 0, 0},
		{"one byte", []byte{0xc0}, 100, 0, 0},
		{"complete", []byte{0xc0, 0}, 100, 2, 0},
		{"more behind", []byte{0xc0, 0, 0xc0}, 100, 2, 0},
		{"body missing", []byte{0x40, 2, 0}, 100, 0, 0},
		{"length missing", []byte{0x30, 0x80}, 100, 0, 0},
		{"v5/MQTT-1.5.5-1/longer than need be", []byte{0xc0, 0x80, 0x00}, 100, 3, 0},
		{"v5/1.5.5/fifth byte", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, 100, 0, MalformedPacket},
		{"v5/MQTT-3.2.2-15/from the header alone", []byte{0x30, 99}, 100, 0, PacketTooLarge},
		{"at the limit", []byte{0x30, 98}, 100, 0, 0},
		{"largest of all", big, MaxSize, 0, 0},
		{"largest of all over the limit", big, MaxSize - 1, 0, PacketTooLarge},
		{"v5/2.1.2/type 0", []byte{0x00}, 100, 0, MalformedPacket},
		{"v5/2.1.2/type 0 complete", []byte{0x00, 0}, 100, 0, MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, body, size, err := Split(tt.b, tt.limit)
			if size != tt.size || code(err) != tt.code {
				t.Fatalf("Split(% x) = size %d, %v; want size %d, code 0x%02x", tt.b, size, err, tt.size, uint8(tt.code))
			}
			if size > 0 && (first != tt.b[0] || !bytes.HasSuffix(tt.b[:size], body)) {
				t.Errorf("Split(% x) = first 0x%02x, body % x", tt.b, first, body)
			}
		})
	}
}

// code is the reason code of a *Fault, and 0 without an error.
func code(err error) ReasonCode {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f.Code
	}
	if err != nil {
		return 0xff // an error of another type
	}
	return 0
}

func TestTypeString(t *testing.T) {
	var got []string
	for typ := range Type(17) {
		got = append(got, typ.String())
	}
	want := "reserved CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH type 16"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestReasonCodes(t *testing.T) {
	named := 0
	for c := range 256 {
		if name := ReasonCode(c).String(); name != fmt.Sprintf("reason code 0x%02x", c) {
			named++
		}
	}
	if named != 43 {
		t.Errorf("%d values have a name, MQTT 5.0 section 2.4 lists 43", named)
	}
	for _, tt := range []struct {
		code ReasonCode
		want byte
		ok   bool
	}{
		{Success, 0, true},
		{UnsupportedProtocolVersion, 1, true},
		{ClientIdentifierNotValid, 2, true},
		{ServerBusy, 3, true},
		{BadUserNameOrPassword, 4, true},
		{NotAuthorized, 5, true},
		{MalformedPacket, 0, false},
		{PacketTooLarge, 0, false},
	} {
		if got, ok := tt.code.ReturnCode(); got != tt.want || ok != tt.ok {
			t.Errorf("%v: return code %d, %v; want %d, %v", tt.code, got, ok, tt.want, tt.ok)
		}
	}
}
