// Package acl says what clients may do, by rules in a file: one of our own, or an
// acl_file of Mosquitto.
//
// The first rule that matches decides, and what no rule matches is denied. Rules
// lie in trees of topic levels: one tree of those for everybody, and one for each
// user, group and client that rules name. So the number of rules for others costs a
// client nothing, and that of rules for everybody little.
//
// Files, from the bottom up: acl.go, tree.go, list.go, words.go,
// mosquitto.go, parse.go, file.go, rules.go, clientrules.go, permissions.go.
package acl

import (
	"slices"
	"strings"

	"midge/internal/packet"
	"midge/internal/variable"
)

// action is a set of what a client may do.
type action uint8

const (
	publish action = 1 << iota
	subscribe
	receive
)

// rule allows something or denies it.
type rule struct {
	number  int // the first one that matches counts
	allow   bool
	actions action
	who     condition

	// Of publishing:
	qos    uint8 // set of QoS, 1<<QoS each
	retain uint8 // set: 1 without RETAIN, 2 with it
}

const (
	anyQoS    = 1<<0 | 1<<1 | 1<<2
	anyRetain = 1 | 2
)

// condition is whom a rule is for: everything that is set must be true.
type condition struct {
	anonymous bool  // somebody without a user name
	users     globs // nil: whoever it is, and so on
	groups    globs // the client is in one of them
	clients   globs
	listeners globs
}

func (c *condition) holds(s *subject) bool {
	return (!c.anonymous || s.User == "") &&
		(c.users == nil || s.User != "" && c.users.match(s.User)) &&
		(c.clients == nil || c.clients.match(s.ID)) &&
		(c.listeners == nil || c.listeners.match(s.Listener)) &&
		(c.groups == nil || slices.ContainsFunc(s.groups, c.groups.match))
}

// globs are texts of which one must match. In each * stands for any text.
type globs []string

func (g globs) match(s string) bool {
	return slices.ContainsFunc(g, func(pattern string) bool { return matchGlob(pattern, s) })
}

// exact reports whether there is no * in them.
func (g globs) exact() bool {
	return g != nil && !slices.ContainsFunc(g, func(s string) bool { return strings.Contains(s, "*") })
}

// matchGlob takes at each * the first place where what is behind it matches: any
// other is further on, which leaves less.
func matchGlob(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], next
	}
}

// subject is a client whose rights are asked for.
type subject struct {
	variable.Client
	groups []string
	mount  string // its mount point
}

// question is what is asked.
type question struct {
	*subject
	action   action
	qos      uint8 // 1<<QoS
	retain   uint8 // 1 or 2
	slashes  bool  // of a variable's value may be in a topic
	reserved bool  // the topic begins with $
	best     *rule // that matches; nil: none so far
}

// publishing asks whether a client may publish.
func publishing(s *subject, qos packet.QoS, retain bool) question {
	q := question{subject: s, action: publish, qos: 1 << qos, retain: 1}
	if retain {
		q.retain = 2
	}
	return q
}

// value is what a variable stands for, and whether it may stand in a topic: it must
// not be a wildcard, or nothing.
func (q *question) value(name variable.Name) (value string, ok bool) {
	value = q.Value(name)
	unfit := "+#/\x00"
	if q.slashes {
		unfit = "+#\x00"
	}
	return value, value != "" && !strings.ContainsAny(value, unfit)
}

// consider looks at rules whose filter matches, in the order of their numbers.
func (q *question) consider(rules []*rule) {
	for _, r := range rules {
		switch {
		case q.best != nil && q.best.number < r.number:
			return
		case r.actions&q.action == 0:
		case q.action == publish && (r.qos&q.qos == 0 || r.retain&q.retain == 0):
		case r.who.holds(q.subject):
			q.best = r
			return
		}
	}
}
