package conf

import (
	"cmp"
	"net"
)

// listener is a listener of the file.
type listener struct {
	lines   []Line // that say where it listens, that of listener first; none for the default one of a file without listeners
	touched *Line  // the first of its options, which opens the default one; nil: none
	scheme  string // tcp, ws or unix
	tls     bool   // it has a certificate
	asks    bool   // clients need a certificate, which has their name
	host    string
	port    string // "" for the default
	path    string // of a Unix socket
	access  access
	own     []entry
}

// address is the listener's in this broker's way. local: the file has no
// listener at all.
func (l *listener) address(local bool) string {
	if l.scheme == "unix" {
		return "unix://" + l.path
	}
	host := l.host
	if local {
		host = "localhost"
	}
	return l.schemeTLS() + "://" + net.JoinHostPort(host, cmp.Or(l.port, "1883"))
}

// schemeTLS is the scheme of the address here.
func (l *listener) schemeTLS() string {
	switch {
	case l.tls && l.scheme == "tcp":
		return "tls"
	case l.tls && l.scheme == "ws":
		return "wss"
	}
	return l.scheme
}

// from is a line that the listener comes from.
func (l *listener) from() (first Line) {
	if len(l.lines) > 0 {
		first = l.lines[0]
	}
	return first
}

// access is who may connect, and do what: through a listener, or all of them.
type access struct {
	anonymous *Line  // allow_anonymous
	asks      bool   // Mosquitto asks clients who they are
	closed    []Line // blocking ones
}
