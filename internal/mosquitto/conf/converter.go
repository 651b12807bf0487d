package conf

import (
	"math"
	"strings"
)

// converter is the state of Convert.
type converter struct {
	options map[string]option
	table   table

	found   []Finding
	entries []entry // of all listeners

	listeners   []*listener // the default one first
	local       bool        // there is no listener, port or bind_address
	perListener bool
	general     access // without perListener, and of all

	*position

	// Lines that mean something together.
	packetSize, messageSize     *Line
	queueFull                   []Line
	persistence, file, location *Line
	logTypes                    []Line
}

// position is what the next options of a file belong to.
type position struct {
	current *listener
	bridge  int // the finding about it, from 1; 0: none
	loaded  int // likewise of the plug-in
}

// option is what becomes of an option of Mosquitto.
type option struct {
	read func(value string) string // what is wrong with a value, "" for nothing

	// take makes a setting of it. nil: there is none, and kind and text are what
	// is said instead, unless the value is but, which asks for what the broker
	// does anyway.
	take func(c *converter, l *Line)
	but  string
	kind Kind
	text string

	scope scope
}

// scope is what an option belongs to.
type scope uint8

const (
	global     scope = iota
	ofListener       // the listener whose line stands above it
	ofAccess         // that with per_listener_settings, all without
	ofBridge         // the bridge whose line stands above it
)

// The options that make no setting.

func same(read func(string) string, text string) option {
	return option{read: read, kind: Same, text: text}
}

func missing(read func(string) string, but, text string) option {
	return option{read: read, but: but, kind: Missing, text: text}
}

func blocking(s scope, read func(string) string, but, text string) option {
	return option{read: read, but: but, kind: Blocking, text: text, scope: s}
}

// sets makes one setting of an option, a number that counts in units of the
// setting: factor is what 1 is in bytes or nanoseconds.
func sets(key string, factor int64, read func(string) string) option {
	return option{read: read, take: func(c *converter, l *Line) { c.number(l, key, times(atoi(l.Value), factor)) }}
}

func (c *converter) find(l *Line, k Kind, text string) {
	c.found = append(c.found, Finding{Line: *l, Kind: k, Text: text})
}

// add adds a setting. One that is there already is replaced: of an option that
// stands twice Mosquitto takes the last.
func (c *converter) add(e entry) {
	c.entries = append(without(c.entries, e.key), e)
}

func (c *converter) set(l *Line, key, value string) { c.add(entry{key, value, []Line{*l}, ""}) }

// number sets a number, within the range of the setting.
func (c *converter) number(l *Line, key string, n int64) {
	limited := c.table.limit(key, n)
	c.set(l, key, c.table.number(key, limited))
	if limited != n && n != unlimited {
		c.find(l, Missing, key+" is "+strings.Trim(c.table.number(key, limited), `"`)+", the nearest that can be set")
	}
}

// own gives the current listener a setting of its own.
func (c *converter) own(l *Line, key, value string) {
	c.current.own = append(without(c.current.own, key), entry{key, value, []Line{*l}, ""})
}

// ofListener sets a number of the current listener.
func (c *converter) ofListener(l *Line, key string, n int64) {
	c.own(l, key, c.table.number(key, c.table.limit(key, n)))
}

// ofAccess sets a text of the current listener with per_listener_settings, and of
// all without.
func (c *converter) ofAccess(l *Line, key string) {
	if c.perListener {
		c.own(l, key, quote(l.Value))
		return
	}
	c.set(l, key, quote(l.Value))
}

// used are the listeners that Mosquitto opens.
func (c *converter) used() []*listener {
	if d := c.listeners[0]; len(c.listeners) > 1 && len(d.lines) == 0 && d.touched == nil {
		return c.listeners[1:]
	}
	return c.listeners
}

// access is what an option of a scope belongs to.
func (c *converter) access(s scope) *access {
	switch {
	case s == ofListener:
		return &c.current.access
	case s == ofAccess && c.perListener:
		return &c.current.access
	}
	return &c.general
}

// unlimited stands for no limit in a setting that has a range.
const unlimited = math.MaxInt64

// orUnlimited is n, or no limit for 0.
func orUnlimited(n int64) int64 {
	if n == 0 {
		return unlimited
	}
	return n
}
