// Package ban says who may not connect: client identifiers, users and addresses, for a
// while or for good, from a file that has one on a line. The file is edited by hand or
// by 'midge ban', and a broker that runs goes by its new text.
//
// Files, from the bottom up: ban.go, line.go, list.go, edit.go.
package ban

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what is banned.
type Kind string

const (
	Address Kind = "address" // or a network of them
	Client  Kind = "client"  // a client identifier
	User    Kind = "user"    // the name in CONNECT, and that of who it turns out to be
)

// Kinds are all of them.
var Kinds = []Kind{Address, Client, User}

// Ban is a line of a file.
type Ban struct {
	Kind   Kind
	Value  string    // of an address as netip writes it, masked
	Until  time.Time // zero: for good
	Reason string    // for the log and the client; "" for none
}

// maxText is how long a client identifier or a user name in MQTT may be, in bytes.
const maxText = 65_535

// New returns a ban, and what is wrong with it.
func New(kind Kind, value string) (Ban, error) {
	switch kind {
	case Address:
		p, err := ParseNetwork(value)
		if err != nil {
			return Ban{}, err
		}
		return Ban{Kind: kind, Value: networkText(p)}, nil
	case Client, User:
		if value == "" || len(value) > maxText || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return Ban{}, fmt.Errorf("%.40q is no %s: no client can have it", value, map[Kind]string{Client: "client identifier", User: "user name"}[kind])
		}
		return Ban{Kind: kind, Value: value}, nil
	}
	return Ban{}, fmt.Errorf("%.40q can't be banned; say address, client or user", string(kind))
}

// ParseNetwork reads an address or a network of them. One of IPv4 that is written as
// IPv6 (::ffff:192.0.2.1) is one of IPv4.
func ParseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if !p.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%.60q is no address; write such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32", text)
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// networkText writes a network of one address as that.
func networkText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Over reports whether it has ended.
func (b *Ban) Over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// Why is the reason in words.
func (b *Ban) Why() string {
	text := "the " + string(b.Kind) + " is banned"
	if !b.Until.IsZero() {
		text += " until " + b.Until.UTC().Format(time.RFC3339)
	}
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return text
}
