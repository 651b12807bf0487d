package acl

import (
	"strings"

	"midge/internal/packet"
)

// list is the rules of a file. It does not change.
type list struct {
	rules     int
	everybody tree
	nobody    tree             // rules for clients without a user name only
	users     map[string]*tree // rules that name who they are for, by that
	groups    map[string]*tree
	clients   map[string]*tree
	members   map[string][]string // the groups of a user

	// mosquitto: the rules of Mosquitto hold. A subscription is always accepted, and
	// what comes of it is checked; a variable may be several levels; and with
	// patterns, who has a wildcard in a name may do nothing that these are asked for.
	mosquitto bool
	patterns  bool

	warnings []string
}

func newList() *list {
	return &list{users: map[string]*tree{}, groups: map[string]*tree{}, clients: map[string]*tree{}, members: map[string][]string{}}
}

// add adds a rule for filters, in which all variables may stand, behind those that are
// there.
func (l *list) add(r rule, filters ...string) {
	trees := []*tree{&l.everybody}
	named := func(by map[string]*tree, names []string) {
		trees = trees[:0]
		for _, name := range names {
			trees = append(trees, treeOf(by, name))
		}
	}
	switch w := &r.who; {
	case w.anonymous:
		trees[0] = &l.nobody
	case w.users.exact():
		named(l.users, w.users)
	case w.clients.exact():
		named(l.clients, w.clients)
	case w.groups.exact():
		named(l.groups, w.groups)
	}
	l.put(r, trees, nil, filters)
}

func treeOf(by map[string]*tree, name string) *tree {
	if by[name] == nil {
		by[name] = &tree{}
	}
	return by[name]
}

// put adds a rule to trees.
func (l *list) put(r rule, to []*tree, v variables, filters []string) {
	r.number = l.rules
	l.rules++
	for _, t := range to {
		for _, filter := range filters {
			t.add(filter, v, &r)
		}
	}
}

// verdict is what rules say of a question.
type verdict uint8

const (
	undecided verdict = iota // no rule matches
	denied
	allowed
)

// decide reports what the rules say of what is asked.
func (l *list) decide(q question, name string) verdict {
	q.slashes = l.mosquitto
	if q.User == "" {
		l.nobody.find(&q, name)
	} else if t := l.users[q.User]; t != nil {
		t.find(&q, name)
	}
	if t := l.clients[q.ID]; t != nil {
		t.find(&q, name)
	}
	if len(l.groups) > 0 {
		for _, g := range q.groups {
			if t := l.groups[g]; t != nil {
				t.find(&q, name)
			}
		}
	}
	if l.patterns && q.best == nil && (wild(q.User) || wild(q.ID)) {
		return denied // CVE-2017-7650
	}
	l.everybody.find(&q, name)
	switch {
	case q.best == nil:
		return undecided
	case q.best.allow:
		return allowed
	}
	return denied
}

// of is a client as the list sees it: in the groups that the file says, too.
func (l *list) of(s *subject) *subject {
	more := l.members[s.User]
	if s.User == "" || len(more) == 0 {
		return s
	}
	with := *s
	with.groups = append(append([]string(nil), s.groups...), more...)
	return &with
}

func (l *list) mayPublish(s *subject, topic string, qos packet.QoS, retain bool) verdict {
	return l.decide(publishing(l.of(s), qos, retain), l.name(s, topic))
}

func (l *list) maySubscribe(s *subject, filter string) verdict {
	if l.mosquitto {
		return allowed
	}
	return l.decide(question{subject: l.of(s), action: subscribe}, filter)
}

func (l *list) mayReceive(s *subject, topic string) verdict {
	return l.decide(question{subject: l.of(s), action: receive}, l.name(s, topic))
}

// name is what the rules call a topic of the client: as it does or, by those of Mosquitto,
// with its mount point.
func (l *list) name(s *subject, topic string) string {
	if l.mosquitto {
		return s.mount + topic
	}
	return topic
}

func wild(name string) bool { return strings.ContainsAny(name, "+#") }
