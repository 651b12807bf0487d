package proxylayer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// binaryHeader writes a header of version 2.
func binaryHeader(command, family byte, body string) string {
	h := append([]byte(signature), 0x20|command, family)
	return string(binary.BigEndian.AppendUint16(h, uint16(len(body)))) + body
}

// binaryFrom is one of a client.
func binaryFrom(from, to netip.AddrPort, more string) string {
	family := byte(0x11)
	if from.Addr().Is6() {
		family = 0x21
	}
	b := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	return binaryHeader(1, family, string(b)+more)
}

// TestParse proves what each header says, and that a byte less of it is not enough.
func TestParse(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:4711"), netip.MustParseAddrPort("[2001:db8::1]:4711")
	to4, to6 := netip.MustParseAddrPort("198.51.100.2:1883"), netip.MustParseAddrPort("[2001:db8::2]:1883")
	line := strings.Repeat("f", 4) + strings.Repeat(":ffff", 7)
	for _, tt := range []struct {
		name, header string
		want         header
		err          error
	}{
		{"v1, IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 4711 1883\r\n", header{v4, to4}, nil},
		{"v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 1883\r\n", header{v6, to6}, nil},
		{"v1, the longest", "PROXY UNKNOWN " + line + " " + line + " 65535 65535\r\n", header{}, nil},
		{"v1, unknown", "PROXY UNKNOWN\r\n", header{}, nil},
		{"v1, too long", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", header{}, errLong},
		{"v1, no end", "PROXY TCP4 " + strings.Repeat("1", 200), header{}, errLong},
		{"v1, other version of IP", "PROXY TCP4 2001:db8::1 2001:db8::2 4711 1883\r\n", header{}, errInvalid},
		{"v1, mapped", "PROXY TCP4 ::ffff:192.0.2.1 198.51.100.2 4711 1883\r\n", header{}, errInvalid},
		{"v1, zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 4711 1883\r\n", header{}, errInvalid},
		{"v1, port", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 1883\r\n", header{}, errInvalid},
		{"v1, sign", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 1883\r\n", header{}, errInvalid},
		{"v1, a field missing", "PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n", header{}, errInvalid},
		{"v1, two blanks", "PROXY  TCP4 192.0.2.1 198.51.100.2 4711 1883\r\n", header{}, errInvalid},
		{"v1, lower case", "proxy TCP4 192.0.2.1 198.51.100.2 4711 1883\r\n", header{}, errNoHeader},
		{"v2, IPv4", binaryFrom(v4, to4, ""), header{v4, to4}, nil},
		{"v2, IPv6", binaryFrom(v6, to6, ""), header{v6, to6}, nil},
		{"v2, more behind the addresses", binaryFrom(v4, to4, "\x04\x00\x03abc"), header{v4, to4}, nil},
		{"v2, LOCAL", binaryHeader(0, 0x11, "\x01\x02\x03"), header{}, nil},
		{"v2, LOCAL without anything", binaryHeader(0, 0, ""), header{}, nil},
		{"v2, Unix socket", binaryHeader(1, 0x31, strings.Repeat("p", 216)), header{}, nil},
		{"v2, the largest", binaryFrom(v4, to4, strings.Repeat("x", maxHeader-fixedBytes-12)), header{v4, to4}, nil},
		{"v2, too large", binaryFrom(v4, to4, strings.Repeat("x", maxHeader-fixedBytes-11)), header{}, errLong},
		{"v2, addresses missing", binaryHeader(1, 0x21, strings.Repeat("x", 35)), header{}, errInvalid},
		{"v2, unknown command", binaryHeader(2, 0x11, strings.Repeat("x", 12)), header{}, errInvalid},
		{"version 3", strings.Replace(binaryFrom(v4, to4, ""), "\x21\x11", "\x31\x11", 1), header{}, errInvalid},
		{"MQTT", "\x10\x0c\x00\x04MQTT", header{}, errNoHeader},
		{"TLS", "\x16\x03\x01", header{}, errNoHeader},
		{"HTTP", "GET / HTTP/1.1\r\n", header{}, errNoHeader},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, n, err := parse([]byte(tt.header + "\x10\x00"))
			if got != tt.want || err != tt.err || err == nil && n != len(tt.header) {
				t.Fatalf("got %v, %d of %d bytes, %v; want %v, %v", got, n, len(tt.header), err, tt.want, tt.err)
			}
			for i := range tt.header {
				if _, n, err := parse([]byte(tt.header[:i])); tt.err == nil && (n != 0 || err != nil) {
					t.Fatalf("the first %d bytes: %d, %v", i, n, err)
				}
			}
		})
	}
}

// FuzzParse proves that no header makes parse panic or take more than there is, and that
// it asks for no more than the largest.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 4711 1883\r\nx"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(binaryHeader(1, 0x21, strings.Repeat("x", 36)) + "x"))
	f.Add([]byte(binaryHeader(0, 0, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parse(b)
		if n < 0 || n > len(b) || err != nil && n != 0 || n == 0 && err == nil && len(b) >= maxHeader {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if h.remote.IsValid() != h.local.IsValid() {
			t.Fatal(fmt.Sprint(h))
		}
	})
}
