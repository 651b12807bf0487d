package settings

import (
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

// FileMode is SocketMode as a number.
func (l *Listener) FileMode() fs.FileMode {
	n, _ := strconv.ParseUint(l.SocketMode, 8, 9) // which the table checks
	return fs.FileMode(n)
}
