package acl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"midge/internal/variable"
)

// maxFaults is how many lines an error tells of.
const maxFaults = 10

// parse reads a file. The first line that is no comment tells of which kind it is.
// The error has all lines that are wrong.
func parse(text []byte) (*list, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the file is not UTF-8")
	}
	p := &parser{list: newList()}
	var faults []error
	n := 0
	for line := range bytes.Lines(text) {
		n++
		s := strings.Trim(string(line), " \t\r\n")
		if s == "" || s[0] == '#' {
			continue
		}
		if err := p.line(s); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
		}
		for ; p.warned < len(p.list.warnings); p.warned++ {
			p.list.warnings[p.warned] = fmt.Sprintf("line %d: %s", n, p.list.warnings[p.warned])
		}
	}
	if more := len(faults) - maxFaults; more > 0 {
		faults = append(faults[:maxFaults], fmt.Errorf("and %d more lines", more))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	p.finish(p.list)
	return p.list, nil
}

// parser reads the lines of a file.
type parser struct {
	list   *list
	kind   string // of the first line, "" before it
	warned int
	mosquitto
}

const (
	ours  = "allow, deny and group"
	their = "topic, user and pattern"
)

func (p *parser) line(s string) error {
	first, rest, _ := strings.Cut(strings.ReplaceAll(s, "\t", " "), " ")
	kind := ""
	switch first {
	case "allow", "deny", "group":
		kind = ours
	case "topic", "user", "pattern":
		kind = their
	default:
		return fmt.Errorf("%q: a line begins with one of %s or, in a file of Mosquitto, with %s", shorten(first), ours, their)
	}
	if p.kind == "" {
		p.kind = kind
	}
	switch {
	case p.kind != kind:
		return fmt.Errorf("%q does not go together with %s", first, p.kind)
	case kind == their:
		return p.mosquittoLine(p.list, first, strings.TrimLeft(rest, " "))
	}
	all, err := words(s)
	switch {
	case err != nil:
		return err
	case first == "group":
		return p.group(all[1:])
	}
	return p.rule(first == "allow", all[1:])
}

// group reads: group NAME USER...
func (p *parser) group(all []word) error {
	if len(all) < 2 {
		return errors.New("write group NAME USER, with as many users as you like")
	}
	for _, user := range all[1:] {
		if user.key != "" || user.text == "" {
			return errors.New("write group NAME USER..., and names with = or nothing in them in quotes")
		}
		if p.list.members[user.text] = append(p.list.members[user.text], all[0].text); all[0].text == "" {
			return errors.New("a group has no name")
		}
	}
	return nil
}

// rule reads: allow [CONDITION...] ACTION[,ACTION...] FILTER...
func (p *parser) rule(allow bool, all []word) error {
	r := rule{allow: allow, qos: anyQoS, retain: anyRetain}
	for len(all) > 0 && (all[0].key != "" || all[0].text == "anonymous" && !all[0].quoted) {
		if err := r.condition(all[0]); err != nil {
			return err
		}
		all = all[1:]
	}
	if len(all) < 2 {
		return errors.New("write allow|deny [user=NAME] [group=NAME] [client=ID] [listener=NAME] [anonymous] [qos=0,1] [retain=yes|no] ACTION FILTER..., with publish, subscribe, receive or all as ACTION")
	}
	for name := range strings.SplitSeq(all[0].text, ",") {
		a, ok := map[string]action{"publish": publish, "subscribe": subscribe | receive, "receive": receive, "all": publish | subscribe | receive}[name]
		if !ok {
			return fmt.Errorf("%q is none of publish, subscribe, receive and all", shorten(name))
		}
		r.actions |= a
	}
	if (r.qos != anyQoS || r.retain != anyRetain) && r.actions&publish == 0 {
		return errors.New("qos and retain are for publish")
	}
	var filters []string
	for _, w := range all[1:] {
		filter := w.text
		if w.key != "" {
			filter = w.key + "=" + filter
		}
		if err := checkFilter(filter); err != nil {
			return err
		}
		if _, err := variable.Parse(filter); err != nil {
			return err
		}
		filters = append(filters, filter)
	}
	p.list.add(r, filters...)
	return nil
}

// condition reads a condition of a rule.
func (r *rule) condition(w word) error {
	if w.key == "" {
		r.who.anonymous = true
		return r.who.check()
	}
	names := globs{w.text}
	if !w.quoted {
		names = strings.Split(w.text, ",")
	}
	if slices.Contains(names, "") {
		return fmt.Errorf("%s= has an empty name; clients without a user name are anonymous", w.key)
	}
	twice := false
	set := func(to *globs) { twice, *to = *to != nil, names }
	switch w.key {
	case "user":
		set(&r.who.users)
	case "group":
		set(&r.who.groups)
	case "client":
		set(&r.who.clients)
	case "listener":
		set(&r.who.listeners)
	case "qos":
		twice, r.qos = r.qos != anyQoS, 0
		for _, n := range names {
			if n != "0" && n != "1" && n != "2" {
				return fmt.Errorf("qos=%s: write 0, 1 or 2, or several with commas", shorten(w.text))
			}
			r.qos |= 1 << (n[0] - '0')
		}
	case "retain":
		twice = r.retain != anyRetain
		switch w.text {
		case "yes":
			r.retain = 2
		case "no":
			r.retain = 1
		default:
			return fmt.Errorf("retain=%s: write yes or no", shorten(w.text))
		}
	default:
		return fmt.Errorf("%s=: it can be %s", shorten(w.key), strings.Join(keys, "=, ")+"=")
	}
	if twice {
		return fmt.Errorf("%s= stands twice; write several with commas", w.key)
	}
	return r.who.check()
}

func (c *condition) check() error {
	if c.anonymous && (c.users != nil || c.groups != nil) {
		return errors.New("who is anonymous has no user name, and is in no group")
	}
	return nil
}
