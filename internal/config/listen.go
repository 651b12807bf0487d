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

// Listener is one socket to listen on.
type Listener struct {
	Text    string // as the user wrote it
	Number  int    // place in the list
	Network string // tcp4 or tcp6 for one version of IP, or tcp
	Host    string // "" means every address
	Port    string

	// SamePort: this is the second address of a name, which gets the
	// port of the one before, and which a machine without IPv6 doesn't have.
	SamePort bool
}

// Address is host:port.
func (l *Listener) Address() string { return net.JoinHostPort(l.Host, l.Port) }

// Loopback reports whether other machines can't reach the listener.
func (l *Listener) Loopback() bool {
	ip, err := netip.ParseAddr(l.Host)
	return err == nil && ip.Unmap().IsLoopback()
}

// v4 reports whether the listener has an address of IPv4.
func (l *Listener) v4() bool {
	ip, err := netip.ParseAddr(l.Host)
	return err == nil && ip.Unmap().Is4()
}

// Listeners returns the sockets of the addresses that are listed in Listen.
func (l *Loaded) Listeners() []Listener {
	all, err := listeners(l.Listen)
	if err != nil {
		panic("config: " + err.Error()) // Load has checked them
	}
	return all
}

// listeners reads the addresses of a list. localhost is the loopback address
// of both versions of IP. [::] leaves IPv4 alone if that is listed for itself:
// two sockets can't have the same address and port.
func listeners(texts []string) (all []Listener, err error) {
	for i, text := range texts {
		l, err := listener(text)
		if err != nil {
			return nil, err
		}
		l.Number = i
		if l.Host != "localhost" {
			all = append(all, l)
			continue
		}
		for i, host := range []string{"127.0.0.1", "::1"} {
			l.Host, l.SamePort = host, i > 0
			all = append(all, l)
		}
	}
	for i := range all {
		l := &all[i]
		if l.Host == "0.0.0.0" {
			l.Network = "tcp4" // package net takes it for both
		}
		if l.Host == "::" && slices.ContainsFunc(all, func(o Listener) bool { return o.v4() && o.Port == l.Port }) {
			l.Network = "tcp6"
		}
	}
	return all, checkTwice(all)
}

// covers reports whether l takes the connections to o as well.
func (l *Listener) covers(o *Listener) bool {
	switch l.Host {
	case "", o.Host:
		return true
	case "0.0.0.0":
		return o.v4()
	case "::":
		return strings.Contains(o.Host, ":")
	}
	return false
}

// checkTwice finds addresses that are listed twice, or that another one covers.
func checkTwice(all []Listener) error {
	for i := range all {
		for j := range all {
			a, b := &all[i], &all[j]
			switch {
			case i == j, a.Port != b.Port, a.Port == "0", !a.covers(b):
			case a.Host == b.Host:
				return fmt.Errorf("%s is listed twice", b.Text)
			default:
				return fmt.Errorf("%s is part of %s already; list one of them", b.Text, a.Text)
			}
		}
	}
	return nil
}

// listener reads tcp://host:port, where tcp:// and the host may be left out.
func listener(text string) (l Listener, err error) {
	addr := text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		switch {
		case slices.Contains([]string{"tls", "ssl", "mqtts", "ws", "wss", "unix"}, scheme):
			return l, fmt.Errorf("%s: %s listeners are not built yet; tcp is", text, scheme)
		case scheme != "tcp" && scheme != "mqtt":
			return l, fmt.Errorf("%s: unknown scheme %q; write tcp://host:port", text, scheme)
		}
		if u, err := url.Parse(text); err == nil && u.Path != "" && u.Path != "/" {
			return l, fmt.Errorf("%s: a tcp listener has no path", text)
		}
		addr = strings.TrimSuffix(rest, "/")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return l, fmt.Errorf("%s: write host:port, such as 127.0.0.1:1883, [::1]:1883 or localhost:1883", text)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65_535 {
		return l, fmt.Errorf("%s: port %q is outside 0 to 65535", text, port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String() // one way to write each
	}
	return Listener{Text: text, Network: "tcp", Host: host, Port: strconv.Itoa(n)}, nil
}

// checkOpen refuses to let everybody in whom nobody has asked for.
func (l *Loaded) checkOpen(faults *Faults, all []Listener) {
	if l.AllowAnonymous {
		return
	}
	var open []string
	for i := range all {
		if !all[i].Loopback() {
			open = append(open, all[i].Text)
		}
	}
	if len(open) > 0 {
		faults.add(l.origins["listen"], "listen",
			"%s: other machines could connect, and nobody is asked for a password; if that is meant, write allow_anonymous = true in the file, or --set allow_anonymous=true", strings.Join(open, ", "))
	}
}

// validate checks what the table can't say.
func (l *Loaded) validate(faults *Faults) {
	if all, err := listeners(l.Listen); err != nil {
		faults.add(l.origins["listen"], "listen", "%v", err)
	} else {
		l.checkOpen(faults, all)
	}
	if l.DataDir == "" {
		faults.add(l.origins["data_dir"], "data_dir", "the name is empty")
	}
	if k := l.Session.KeepAlive; k%1e9 != 0 {
		faults.add(l.origins["session.keep_alive"], "session.keep_alive", "%v is not a whole number of seconds", k)
	}
	if l.Strict.KeepAlive && l.Session.KeepAlive == 0 {
		l.Warnings = append(l.Warnings, "strict.keep_alive does nothing as long as session.keep_alive is 0")
	}
}
