package conf

import (
	"fmt"
	"slices"
	"strings"
)

// begin takes "listener port [host or path]".
func (c *converter) begin(l *Line) {
	port, at, _ := strings.Cut(l.Value, " ")
	at = strings.Trim(at, " \t")
	if strings.HasPrefix(at, "#") {
		at = "" // Mosquitto takes it for a comment here
	}
	n := atoi(port)
	switch {
	case n < 0 || n > 65_535:
		c.find(l, Fault, "the port is outside 0 to 65535")
		return
	case n == 0 && at == "":
		c.find(l, Fault, "a listener on port 0 is a Unix socket and needs a path")
		return
	}
	c.current = &listener{scheme: "tcp", lines: []Line{*l}}
	if n == 0 {
		c.current.scheme, c.current.path = "unix", at
	} else {
		c.current.port, c.current.host = fmt.Sprint(n), at
	}
	c.listeners = append(c.listeners, c.current)
	c.local = false
}

// port takes "port number" of the default listener.
func (c *converter) port(l *Line) {
	n := atoi(l.Value)
	if n < 1 || n > 65_535 {
		c.find(l, Fault, "the port is outside 1 to 65535")
		return
	}
	d := c.listeners[0]
	d.lines = append(slices.DeleteFunc(d.lines, func(old Line) bool { return old.Option == l.Option }), *l) // the last one counts
	d.port, c.local = fmt.Sprint(n), false
}

// bindAddress takes "bind_address host" of the default listener.
func (c *converter) bindAddress(l *Line) {
	d := c.listeners[0]
	d.lines = append(slices.DeleteFunc(d.lines, func(old Line) bool { return old.Option == l.Option }), *l)
	d.host, c.local = l.Value, false
}

func (c *converter) protocol(l *Line) {
	switch l.Value {
	case "mqtt":
		if c.current.scheme == "ws" {
			c.current.scheme = "tcp"
		}
	case "websockets":
		if c.current.scheme == "tcp" {
			c.current.scheme = "ws"
		}
	default:
		c.find(l, Fault, "the protocol is mqtt or websockets")
		return
	}
	c.current.lines = append(c.current.lines, *l)
}

func (c *converter) socketDomain(l *Line) {
	d := c.current
	d.lines = append(d.lines, *l)
	switch {
	case l.Value == "ipv4" && d.host == "":
		d.host = "0.0.0.0"
	case l.Value == "ipv6" && d.host == "":
		d.host = "::"
		c.find(l, Missing, "[::] takes IPv4 as well, unless a listener of its own has that; name an IPv6 address to have IPv6 only")
	case l.Value != "ipv4" && l.Value != "ipv6":
		c.find(l, Fault, "the domain is ipv4 or ipv6")
	}
}

// admit decides which listeners can be opened, and who may come in.
func (c *converter) admit() {
	used := c.used()
	if d := c.listeners[0]; d != used[0] {
		c.unused(d)
	}
	open := 0 // to everybody
	for _, l := range used {
		a := &c.general
		if c.perListener {
			a = &l.access
		}
		l.access.closed = append(l.access.closed, c.general.closed...)
		allowed := c.local
		if a.anonymous != nil {
			allowed = isTrue(a.anonymous)
		}
		if !allowed && !a.asks && !l.asks && len(l.access.closed) == 0 {
			c.closeToAll(l, a)
		}
		l.access.anonymous = a.anonymous
		if !allowed {
			l.access.anonymous = nil
		}
		if allowed && len(l.access.closed) == 0 {
			open++
		}
	}
	if c.local && c.general.anonymous == nil && c.general.asks {
		c.add(entry{"allow_anonymous", "true", nil, "Mosquitto lets everybody in who gives no user name, since there is no listener"})
	}
	for _, l := range used {
		switch line := l.access.anonymous; {
		case line == nil:
		case open == len(used):
			c.set(line, "allow_anonymous", "true")
		default:
			l.own = append(l.own, entry{"allow_anonymous", "true", []Line{*line}, ""})
		}
	}
	c.generalize(used)
}

// unused tells what was set for the default listener, which is not opened.
func (c *converter) unused(d *listener) {
	const text = "it is about the default listener, which the file does not open"
	if d.access.anonymous != nil && isTrue(d.access.anonymous) {
		c.find(d.access.anonymous, Same, text)
	}
	for _, e := range d.own {
		c.find(&e.from[0], Same, text)
	}
}

// closeToAll closes a listener through which nobody can connect to Mosquitto.
func (c *converter) closeToAll(l *listener, a *access) {
	at := a.anonymous
	switch {
	case at != nil:
	case len(l.lines) > 0:
		at = &l.lines[0]
	default:
		at = l.touched // it opens the default one
	}
	l.access.closed = append(l.access.closed, *at)
	c.find(at, Blocking, "nobody can connect to "+l.address(false)+" in Mosquitto 2 without allow_anonymous true or a password_file; write allow_anonymous true if everybody may")
}

// generalize moves what listeners have for themselves, and no listener of this
// broker can have, to the settings of all.
func (c *converter) generalize(used []*listener) {
	for _, l := range used {
		l.own = slices.DeleteFunc(l.own, func(e entry) bool {
			switch {
			case c.table[e.key].PerListener:
				return false
			case len(used) == 1:
				c.add(e)
			default:
				c.find(&e.from[0], Missing, e.key+" is the same for all listeners; set it for all, if that will do")
			}
			return true
		})
	}
}
