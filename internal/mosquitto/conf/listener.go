package conf

import (
	"cmp"
	"net"
)

// served are the schemes of those listeners that can be opened so far.
var served = []string{"tcp"}

// notServed is what is said of the others.
var notServed = map[string]string{"ws": "WebSocket is not built yet", "unix": "Unix sockets are not built yet"}

// listener is a listener of the file.
type listener struct {
	lines   []Line // that say where it listens, that of listener first; none for the default one of a file without listeners
	touched bool   // it has options of its own
	scheme  string // tcp, ws or unix
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
	return l.scheme + "://" + net.JoinHostPort(host, cmp.Or(l.port, "1883"))
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
	asks      []Line // that make Mosquitto ask who a client is
	closed    []Line // blocking ones
}
