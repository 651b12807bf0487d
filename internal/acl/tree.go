package acl

import "strings"

// tree has the rules of filters, by levels.
type tree struct {
	literal  map[string]*tree
	plus     *tree
	variable []variable
	here     []*rule // whose filter ends here
	below    []*rule // whose filter ends with # below here
}

// variable is a level with %u or %c in it.
type variable struct {
	text string
	next *tree
}

// add adds a rule for a filter, in which %u and %c may be variables. Numbers of
// rules go up.
func (t *tree) add(filter string, variables bool, r *rule) {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			t.below = append(t.below, r)
			return
		}
		t = t.child(level, variables && hasVariable(level))
		if !more {
			t.here = append(t.here, r)
			return
		}
		filter = rest
	}
}

// child returns the tree below a level of a filter, and makes it if it isn't there.
func (t *tree) child(level string, isVariable bool) *tree {
	switch {
	case level == "+":
		if t.plus == nil {
			t.plus = &tree{}
		}
		return t.plus
	case isVariable:
		for _, v := range t.variable {
			if v.text == level {
				return v.next
			}
		}
		v := variable{level, &tree{}}
		t.variable = append(t.variable, v)
		return v.next
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

func hasVariable(s string) bool { return strings.Contains(s, "%u") || strings.Contains(s, "%c") }

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
	for _, v := range t.variable {
		if rest, more, ok := v.match(q, name); ok && !(first && q.reserved && v.text[0] == '%') {
			step(v.next, rest, more)
		}
	}
}

// match takes from name what the level stands for: one level, or several where
// values may have slashes.
func (v *variable) match(q *question, name string) (rest string, more, ok bool) {
	text := v.text
	for text != "" {
		at := strings.IndexByte(text, '%')
		if at < 0 {
			at = len(text)
		}
		if name, ok = strings.CutPrefix(name, text[:at]); !ok {
			return "", false, false
		}
		if text = text[at:]; text == "" {
			break
		}
		literal := text[:1]
		if len(text) > 1 && (text[1] == 'u' || text[1] == 'c') {
			if literal, ok = q.value(text[1]); !ok {
				return "", false, false
			}
			text = text[1:]
		}
		if name, ok = strings.CutPrefix(name, literal); !ok {
			return "", false, false
		}
		text = text[1:]
	}
	if name == "" {
		return "", false, true
	}
	rest, ok = strings.CutPrefix(name, "/")
	return rest, true, ok
}
