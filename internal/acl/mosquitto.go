package acl

import (
	"errors"
	"fmt"
	"strings"

	"midge/internal/variable"
)

// mosquitto reads an acl_file of Mosquitto 2.0. What its broker does with one, and
// its manual does not say:
//
//   - Deny counts before allow, wherever it stands.
//   - topic before the first user is for clients without a user name only.
//   - pattern is for everybody, also below a user, and counts after the topics.
//   - A subscription is always accepted. Each message is looked at.
//   - With a pattern in the file, what no topic allows is denied to clients that have a
//     wildcard in their user name or client identifier.
type mosquitto struct {
	user  string // whose topics come; "" before the first
	found []found
}

// ofMosquitto are the variables of its patterns.
var ofMosquitto = variables{variable.User, variable.ClientID}

// found is a rule, in the order of the file.
type found struct {
	pattern bool
	user    string // of a topic
	filter  string
	rule    rule
}

func (m *mosquitto) mosquittoLine(l *list, first, rest string) error {
	l.mosquitto = true
	if first == "user" {
		if rest == "" {
			return errors.New("user has no name")
		}
		m.user = rest
		return nil
	}
	filter := rest
	actions := publish | subscribe | receive
	allow := true
	if access, after, more := strings.Cut(rest, " "); more {
		filter = strings.TrimLeft(after, " ")
		switch access {
		case "read":
			actions = subscribe | receive
		case "write":
			actions = publish
		case "readwrite":
		case "deny":
			allow = false
		default:
			return fmt.Errorf("%s %s: read, write, readwrite or deny stands before a filter", first, shorten(access))
		}
	}
	if filter == "" {
		return fmt.Errorf("%s has no filter", first)
	}
	if err := checkFilter(filter); err != nil {
		return err
	}
	f := found{pattern: first == "pattern", user: m.user, filter: filter, rule: rule{allow: allow, actions: actions, qos: anyQoS, retain: anyRetain}}
	switch has := ofMosquitto.in(filter) != nil; {
	case f.pattern && !has:
		l.warnings = append(l.warnings, fmt.Sprintf("pattern %s has neither %%u nor %%c: it is for everybody", filter))
	case !f.pattern && has:
		l.warnings = append(l.warnings, fmt.Sprintf("topic %s: only pattern knows %%u and %%c; here they are taken as they are", filter))
	}
	l.patterns = l.patterns || f.pattern
	m.found = append(m.found, f)
	return nil
}

// finish puts the rules in the order in which they count.
func (m *mosquitto) finish(l *list) {
	for _, pattern := range []bool{false, true} {
		known := noVariables
		if pattern {
			known = ofMosquitto
		}
		for _, allow := range []bool{false, true} {
			for _, f := range m.found {
				if f.pattern == pattern && f.rule.allow == allow {
					l.put(f.rule, []*tree{m.tree(l, f)}, known, []string{f.filter})
				}
			}
		}
	}
}

// tree is where a rule goes.
func (m *mosquitto) tree(l *list, f found) *tree {
	switch {
	case f.pattern:
		return &l.everybody
	case f.user == "":
		return &l.nobody
	}
	return treeOf(l.users, f.user)
}
