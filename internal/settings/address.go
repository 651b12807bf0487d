package settings

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
)

// parsePrefix reads addresses of the form 10.0.0.0/8, or one address.
func parsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// prefixes reads several.
func prefixes(texts []string) (all []netip.Prefix) {
	for _, text := range texts {
		if p, err := parsePrefix(text); err == nil { // which the table checks
			all = append(all, p)
		}
	}
	return all
}

func checkPrefix(text string) error {
	if _, err := parsePrefix(text); err != nil {
		return fmt.Errorf("%q is no address; write such as \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"", text)
	}
	return nil
}

// FileMode is SocketMode as a number.
func (l *Listener) FileMode() fs.FileMode {
	n, _ := strconv.ParseUint(l.SocketMode, 8, 9) // which the table checks
	return fs.FileMode(n)
}
