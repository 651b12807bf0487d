package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Address is one place to listen on.
type Address struct {
	Text    string // as the user wrote it
	Scheme  string // tcp, tls, ws, wss or unix
	Network string // tcp4 or tcp6 for one version of IP, or tcp; unix
	Host    string // "" means every address
	Port    string
	Path    string // of the socket with unix; of the URL with ws and wss, "" if there is none

	// SamePort: this is the second address of a name, which gets the
	// port of the one before, and which a machine without IPv6 doesn't have.
	SamePort bool
}

// Target is host:port, or the path of a Unix socket: what package net takes.
func (a *Address) Target() string {
	if a.Scheme == "unix" {
		return a.Path
	}
	return net.JoinHostPort(a.Host, a.Port)
}

// String is the address with its scheme.
func (a *Address) String() string { return a.Scheme + "://" + a.Target() }

// Loopback reports whether other machines can't reach the address.
func (a *Address) Loopback() bool {
	ip, err := netip.ParseAddr(a.Host)
	return a.Scheme == "unix" || err == nil && ip.Unmap().IsLoopback()
}

// v4 reports whether it is an address of IPv4.
func (a *Address) v4() bool {
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.Unmap().Is4()
}

// spread returns the places that an address stands for: localhost is the loopback
// address of both versions of IP.
func (a *Address) spread() []Address {
	if a.Host != "localhost" {
		return []Address{*a}
	}
	first, second := *a, *a
	first.Host, second.Host, second.SamePort = "127.0.0.1", "::1", true
	return []Address{first, second}
}

// separate tells addresses of both versions of IP apart. [::] leaves IPv4 alone if that is listed for itself:
// two sockets can't have the same address and port.
func separate(all []*Address) {
	for _, a := range all {
		if a.Host == "0.0.0.0" {
			a.Network = "tcp4" // package net takes it for both
		}
		if a.Host == "::" && slices.ContainsFunc(all, func(o *Address) bool { return o.v4() && o.Port == a.Port }) {
			a.Network = "tcp6"
		}
	}
}

// covers reports whether a takes the connections to o as well.
func (a *Address) covers(o *Address) bool {
	if a.Scheme == "unix" || o.Scheme == "unix" {
		return a.Scheme == o.Scheme && a.Path == o.Path
	}
	if a.Port != o.Port || a.Port == "0" {
		return false
	}
	switch a.Host {
	case "", o.Host:
		return true
	case "0.0.0.0":
		return o.v4()
	case "::":
		return strings.Contains(o.Host, ":")
	}
	return false
}

// checkTwice finds an address that is listed twice, or that another one covers, and
// returns the number of the one to blame.
func checkTwice(all []*Address) (which int, err error) {
	for i, a := range all {
		for j, b := range all {
			switch {
			case i == j, !a.covers(b):
			case a.Host == b.Host:
				return max(i, j), fmt.Errorf("%s is listed twice", b.Text)
			default:
				return j, fmt.Errorf("%s is part of %s already; list one of them", b.Text, a.Text)
			}
		}
	}
	return 0, nil
}

// schemes are what an address may begin with, and what that means.
var schemes = map[string]string{
	"tcp": "tcp", "mqtt": "tcp", "tls": "tls", "ssl": "tls", "mqtts": "tls", "ws": "ws", "wss": "wss", "unix": "unix",
}

// address reads scheme://host:port, where tcp:// and the host may be left out, or
// unix://path.
func address(text string) (a Address, err error) {
	a = Address{Text: text, Scheme: "tcp", Network: "tcp"}
	at := text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if a.Scheme = schemes[scheme]; a.Scheme == "" {
			return a, fmt.Errorf("%s: unknown scheme %q; write tcp://host:port, or tls, ws or wss for tcp, or unix://path", text, scheme)
		}
		if at = rest; a.Scheme == "unix" {
			return unix(a, rest)
		}
		if at, a.Path, ok = strings.Cut(rest, "/"); ok && a.Path != "" {
			a.Path = "/" + a.Path
		}
		switch _, err := url.Parse(text); {
		case a.Path == "":
		case a.Scheme == "tcp" || a.Scheme == "tls":
			return a, fmt.Errorf("%s: a %s listener has no path", text, a.Scheme)
		case err != nil || strings.ContainsAny(a.Path, "?#"):
			return a, fmt.Errorf("%s: %q is not the path of a URL", text, a.Path)
		}
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return a, fmt.Errorf("%s: write host:port, such as 127.0.0.1:1883, [::1]:1883 or localhost:1883", text)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65_535 {
		return a, fmt.Errorf("%s: port %q is outside 0 to 65535", text, port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String() // one way to write each
	}
	a.Host, a.Port = host, strconv.Itoa(n)
	return a, nil
}

// maxSocketPath is the longest path of a Unix socket that every system takes.
const maxSocketPath = 103

func unix(a Address, path string) (Address, error) {
	switch {
	case path == "":
		return a, fmt.Errorf("%s: write unix://path, such as unix:///run/midge/midge.sock", a.Text)
	case len(path) > maxSocketPath:
		return a, fmt.Errorf("%s: the path of a socket has %d bytes at most", a.Text, maxSocketPath)
	case strings.ContainsRune(path, 0):
		return a, fmt.Errorf("%s: the path has a zero byte in it", a.Text)
	}
	a.Network, a.Path = "unix", path
	return a, nil
}
