package proxylayer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// header is what a proxy says of a connection. Both addresses are the zero value if it
// says nothing: the connection is its own (LOCAL, as health checks are), or it does not know.
type header struct {
	remote netip.AddrPort // the client
	local  netip.AddrPort // where the client wanted to go
}

const (
	// signature begins a header of version 2.
	signature = "\r\n\r\n\x00\r\nQUIT\n"

	// word begins one of version 1, which is a line of maxLine bytes at most.
	word    = "PROXY "
	maxLine = 107

	// fixedBytes of version 2 come before the part whose length they tell.
	fixedBytes = 16

	// maxHeader is the largest header of version 2 that is taken: HAProxy's, with the name
	// and the certificate's fields of a client of TLS, has some hundred bytes.
	maxHeader = 4 << 10
)

var (
	errNoHeader = errors.New("the connection does not begin with a header of the PROXY protocol")
	errLong     = errors.New("the header of the PROXY protocol is too long")
	errInvalid  = errors.New("the header of the PROXY protocol is not as it should be")
)

// parse reads the header that b begins with, and returns how many bytes it has: 0 while
// some are missing.
func parse(b []byte) (h header, n int, err error) {
	switch {
	case begins(b, signature):
		return parseBinary(b)
	case begins(b, word):
		return parseLine(b)
	}
	return h, 0, errNoHeader
}

// begins reports whether b may begin with text: with bytes missing it may.
func begins(b []byte, text string) bool {
	n := min(len(b), len(text))
	return string(b[:n]) == text[:n]
}

// parseLine reads a header of version 1.
func parseLine(b []byte) (h header, n int, err error) {
	line := b[:min(len(b), maxLine)]
	end := bytes.Index(line, []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= maxLine:
		return h, 0, errLong
	case end < 0:
		return h, 0, nil
	}
	n = end + 2
	f := strings.Split(string(line[:end]), " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return h, n, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return h, 0, errInvalid
	}
	if h.remote, err = textAddress(f[2], f[4], f[1] == "TCP4"); err == nil {
		h.local, err = textAddress(f[3], f[5], f[1] == "TCP4")
	}
	if err != nil {
		return header{}, 0, err
	}
	return h, n, nil
}

func textAddress(ip, port string, v4 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(ip)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, errInvalid
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// parseBinary reads a header of version 2. What stands behind the addresses is not
// looked at.
func parseBinary(b []byte) (h header, n int, err error) {
	if len(b) < fixedBytes {
		return h, 0, nil
	}
	version, command, family := b[12]>>4, b[12]&0xf, b[13]
	n = fixedBytes + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case version != 2 || command > 1:
		return h, 0, errInvalid
	case n > maxHeader:
		return h, 0, errLong
	case len(b) < n:
		return h, 0, nil
	case command == 0: // LOCAL
		return h, n, nil
	}
	size := 0
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // a Unix socket, or one that the proxy doesn't know
		return h, n, nil
	}
	body := b[fixedBytes:n]
	if len(body) < 2*size+4 {
		return h, 0, errInvalid
	}
	from, _ := netip.AddrFromSlice(body[:size])
	to, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	h.remote = netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(ports))
	h.local = netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, n, nil
}
