// Package topic validates topic names and topic filters, finds the filters that
// match a name (Tree) and the names that match a filter (Names). It implements
// section 4.7 of MQTT 5.0 and 3.1.1 and the filter syntax of section 4.8.2 of
// MQTT 5.0.
//
// It knows no clients and does no I/O. Tree and Names have no locks: any number
// of goroutines may read at the same time, and whoever changes one must be
// alone with it.
//
// Files, from the bottom up: topic.go, mount.go, slab.go, table.go, nodes.go, names.go,
// cursor.go, tree.go.
package topic

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits bounds names and filters beyond what the protocol does.
type Limits struct {
	// Levels is the largest number of topic levels; 0 means no limit: one
	// filter of 65,535 slashes can ask for 65,536 nodes of a Tree, 50 times the
	// bytes that were sent.
	Levels int

	// Bytes is the largest length; 0 means no limit but the protocol's.
	Bytes int

	// NoControl refuses control characters, which should not be there (1.5.4 of
	// 5.0, 1.5.3 of 3.1.1) and may.
	NoControl bool
}

// maxBytes is the limit of the protocol (MQTT-4.7.3-3), and that of the length
// in front of a string: nothing that arrives whole is refused.
const maxBytes = 65535

// Error says what is wrong with a name or a filter. The caller, who knows what
// it was for, decides the reason code: 0x8F for a filter, 0x90 for a name.
type Error struct {
	Clause    string // of MQTT 5.0, such as "v5/MQTT-4.7.1-1"; "" for limits of ours
	Clause311 string // of MQTT 3.1.1: "v311/MQTT-4.7.1-2"; "" if it has none
	Detail    string
}

func (e *Error) Error() string {
	if e.Clause == "" {
		return e.Detail
	}
	return e.Detail + " (" + e.Clause + ")"
}

// ValidName returns nil if b may be published to, else an *Error.
func ValidName(b []byte, lim Limits) error {
	if err := checkLength(len(b), lim); err != nil {
		return err
	}
	levels := 1
	for i, c := range b {
		switch c {
		case '/':
			levels++
		case '+', '#':
			return &Error{
				"v5/MQTT-4.7.0-1", "v311/MQTT-4.7.1-1",
				fmt.Sprintf("wildcard %q at byte %d of a topic name", c, i),
			}
		case 0:
			return errNull(i)
		}
	}
	if lim.Levels > 0 && levels > lim.Levels {
		return errLevels(levels, lim)
	}
	if !utf8.Valid(b) {
		return errUTF8()
	}
	if lim.NoControl {
		return checkControl(string(b))
	}
	return nil
}

// ValidFilter returns nil if s may be subscribed to, else an *Error. It takes
// the prefix of a shared subscription for levels like any others; ParseShared
// checks that.
func ValidFilter(s string, lim Limits) error {
	if err := checkLength(len(s), lim); err != nil {
		return err
	}
	levels := 1
	for i := range len(s) {
		switch s[i] {
		case '/':
			levels++
		case '#':
			if i != len(s)-1 || !startsLevel(s, i) {
				return &Error{
					"v5/MQTT-4.7.1-1", "v311/MQTT-4.7.1-2",
					fmt.Sprintf("'#' at byte %d is not the whole last level", i),
				}
			}
		case '+':
			if !startsLevel(s, i) || i+1 < len(s) && s[i+1] != '/' {
				return &Error{
					"v5/MQTT-4.7.1-2", "v311/MQTT-4.7.1-3",
					fmt.Sprintf("'+' at byte %d is not a whole level", i),
				}
			}
		case 0:
			return errNull(i)
		}
	}
	if lim.Levels > 0 && levels > lim.Levels {
		return errLevels(levels, lim)
	}
	if !utf8.ValidString(s) {
		return errUTF8()
	}
	if lim.NoControl {
		return checkControl(s)
	}
	return nil
}

func startsLevel(s string, i int) bool { return i == 0 || s[i-1] == '/' }

func checkLength(n int, lim Limits) error {
	if n == 0 {
		return &Error{"v5/MQTT-4.7.3-1", "v311/MQTT-4.7.3-1", "empty"}
	}
	if n > maxBytes {
		return &Error{"v5/MQTT-4.7.3-3", "v311/MQTT-4.7.3-3", fmt.Sprintf("%d bytes, more than %d", n, maxBytes)}
	}
	if lim.Bytes > 0 && n > lim.Bytes {
		return &Error{Detail: fmt.Sprintf("%d bytes, the limit is %d", n, lim.Bytes)}
	}
	return nil
}

// checkControl finds the control characters U+0001 to U+001F and U+007F to
// U+009F.
func checkControl(s string) error {
	for i, r := range s {
		if unicode.IsControl(r) {
			return &Error{Detail: fmt.Sprintf("control character %U at byte %d", r, i)}
		}
	}
	return nil
}

func errNull(i int) error {
	return &Error{"v5/MQTT-4.7.3-2", "v311/MQTT-4.7.3-2", fmt.Sprintf("null character at byte %d", i)}
}

func errUTF8() error {
	return &Error{"v5/MQTT-1.5.4-1", "v311/MQTT-1.5.3-1", "not well-formed UTF-8"}
}

func errLevels(n int, lim Limits) error {
	return &Error{Detail: fmt.Sprintf("%d levels, the limit is %d", n, lim.Levels)}
}

// sharePrefix begins the filter of a shared subscription.
const sharePrefix = "$share/"

// ParseShared splits a filter `$share/<group>/<inner>`. Of any other filter it
// returns shared false and the filter itself as inner. The caller still checks
// inner with ValidFilter. Shared subscriptions are of MQTT 5.0; that they work
// for clients of 3.1 and 3.1.1 too is an extension.
func ParseShared(filter string) (group, inner string, shared bool, err error) {
	rest, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		return "", filter, false, nil
	}
	group, inner, _ = strings.Cut(rest, "/")
	switch {
	case group == "":
		return "", "", true, &Error{Clause: "v5/MQTT-4.8.2-1", Detail: "shared subscription with an empty share name"}
	case strings.ContainsAny(group, "+#"):
		return "", "", true, &Error{Clause: "v5/MQTT-4.8.2-2", Detail: "wildcard in a share name"}
	case inner == "":
		return "", "", true, &Error{Clause: "v5/MQTT-4.8.2-2", Detail: "shared subscription without a topic filter"}
	}
	return group, inner, true, nil
}

// Match reports whether a valid filter matches a valid name. It is the plain
// statement of the rules that Tree and Names are tested against; to ask about
// many filters use a Tree. It allocates nothing.
func Match(filter, name string) bool {
	if strings.HasPrefix(name, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false // MQTT-4.7.2-1
	}
	for {
		f, filterRest, filterMore := strings.Cut(filter, "/")
		n, nameRest, nameMore := strings.Cut(name, "/")
		switch {
		case f == "#":
			return true
		case f != "+" && f != n:
			return false
		case !nameMore: // the filter ends too, or goes on with "#": "a/#" matches "a"
			return !filterMore || filterRest == "#"
		case !filterMore:
			return false
		}
		filter, name = filterRest, nameRest
	}
}

// cut splits off the first level of a name; more is false if it was the last.
func cut(name []byte) (level, rest []byte, more bool) {
	if i := bytes.IndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:], true
	}
	return name, nil, false
}
