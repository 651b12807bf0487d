package acl

import (
	"strings"

	"midge/internal/variable"
)

// tree has the rules of filters, by levels.
type tree struct {
	literal  map[string]*tree
	plus     *tree
	patterns []pattern
	here     []*rule // whose filter ends here
	below    []*rule // whose filter ends with # below here
}

// pattern is a level with variables in it.
type pattern struct {
	text  string
	parts variable.Text
	next  *tree
}

// add adds a rule for a filter. Numbers of rules go up.
func (t *tree) add(filter string, v variables, r *rule) {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			t.below = append(t.below, r)
			return
		}
		t = t.child(level, v.in(level))
		if !more {
			t.here = append(t.here, r)
			return
		}
		filter = rest
	}
}

// child returns the tree below a level of a filter, and makes it if it isn't there.
func (t *tree) child(level string, parts variable.Text) *tree {
	switch {
	case level == "+":
		if t.plus == nil {
			t.plus = &tree{}
		}
		return t.plus
	case parts != nil:
		for _, p := range t.patterns {
			if p.text == level {
				return p.next
			}
		}
		p := pattern{level, parts, &tree{}}
		t.patterns = append(t.patterns, p)
		return p.next
	}
	next := t.literal[level]
	if next == nil {
		if next = (&tree{}); t.literal == nil {
			t.literal = map[string]*tree{}
		}
		t.literal[level] = next
	}
	return next
}

// variables are those that filters may have, all if there are none.
type variables []variable.Name

// noVariables are none: there is nothing that it would stand for.
var noVariables = variables{variable.None}

// in returns the parts of a level with variables, nil if it has none.
func (v variables) in(level string) variable.Text {
	if parts, err := variable.Parse(level, v...); err == nil && parts.Variables() > 0 {
		return parts
	}
	return nil
}

// find considers the rules of all filters that match a topic name or, if name is a
// topic filter, that match every topic name which it matches.
func (t *tree) find(q *question, name string) {
	q.reserved = strings.HasPrefix(name, "$")
	if !q.reserved { // MQTT-4.7.2-1
		q.consider(t.below)
	}
	t.levels(q, name, true)
}

// levels goes on with the levels of name; below was considered. first: they
// are those from the first one on.
func (t *tree) levels(q *question, name string, first bool) {
	level, rest, more := strings.Cut(name, "/")
	if level == "#" {
		return
	}
	step := func(next *tree, rest string, more bool) {
		q.consider(next.below)
		if more {
			next.levels(q, rest, false)
			return
		}
		q.consider(next.here)
	}
	if next := t.literal[level]; next != nil && level != "+" {
		step(next, rest, more)
	}
	if t.plus != nil && !(first && q.reserved) {
		step(t.plus, rest, more)
	}
	for i := range t.patterns {
		p := &t.patterns[i]
		if rest, more, ok := p.match(q, name); ok && !(first && q.reserved && p.parts[0].Name != variable.None) {
			step(p.next, rest, more)
		}
	}
}

// match takes from name what the level stands for: one level, or several where
// values may have slashes.
func (p *pattern) match(q *question, name string) (rest string, more, ok bool) {
	for _, part := range p.parts {
		literal := part.Text
		if part.Name != variable.None {
			if literal, ok = q.value(part.Name); !ok {
				return "", false, false
			}
		}
		if name, ok = strings.CutPrefix(name, literal); !ok {
			return "", false, false
		}
	}
	if name == "" {
		return "", false, true
	}
	rest, ok = strings.CutPrefix(name, "/")
	return rest, true, ok
}
