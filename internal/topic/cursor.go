package topic

// Cursor is a walk over the names that a filter matches, which stops and goes on
// later, whatever is set and deleted in between: it yields a name that is there
// all the time once, and one that comes or goes meanwhile at most once.
type Cursor struct {
	levels []string // of the filter, without "#" at its end
	multi  bool     // it ends with "#"
	begun  bool
	at     uint32 // the node that was looked at last; it is held
	depth  int    // its level, counted from 1; that of the root is 0
}

// NewCursor begins a walk for a valid filter.
func NewCursor(filter string) *Cursor {
	c := &Cursor{}
	c.Reset(filter)
	return c
}

// Reset begins another walk, with the memory of one that is over.
func (c *Cursor) Reset(filter string) {
	*c = Cursor{levels: c.levels[:0]}
	from := 0
	for i := range len(filter) {
		if filter[i] == '/' {
			c.levels = append(c.levels, filter[from:i])
			from = i + 1
		}
	}
	c.levels = append(c.levels, filter[from:])
	if last := len(c.levels) - 1; c.levels[last] == "#" {
		c.levels, c.multi = c.levels[:last], true
	}
}

// any reports whether all children of a node at a depth may match.
func (c *Cursor) any(depth int) bool {
	return depth < len(c.levels) && c.levels[depth] == "+" || depth >= len(c.levels) && c.multi
}

// match reports whether the node that a walk is at matches as a whole.
func (c *Cursor) match() bool {
	return c.depth == len(c.levels) || c.depth > len(c.levels) && c.multi
}

// Step goes on with a walk: it looks at n nodes at most, at least one, and calls
// yield for the values of those that match, until yield returns false. It
// returns how many it has looked at, and whether there may be more. yield must
// not change t, and nobody may read t meanwhile. A walk that is given up needs
// Leave.
func (t *Names[V]) Step(c *Cursor, n int, yield func(v V) (goOn bool)) (looked int, more bool) {
	before := c.at
	more = t.advance(c)
	for ; more; more = t.advance(c) {
		looked++
		goOn := true
		if c.match() {
			if ref := t.nodes.at(c.at).values; ref != 0 {
				goOn = yield(*t.values.at(ref))
			}
		}
		if looked >= n || !goOn {
			t.hold(c.at)
			break
		}
	}
	if !more {
		c.at = 0
	}
	t.let(before)
	return looked, more
}

// Leave ends a walk before its end.
func (t *Names[V]) Leave(c *Cursor) {
	at := c.at
	c.at = 0
	t.let(at)
}

// hold keeps a node, until let.
func (t *Names[V]) hold(id uint32) {
	if t.held == nil {
		t.held = map[uint32]int{}
	}
	t.held[id]++
}

func (t *Names[V]) let(id uint32) {
	if id == 0 {
		return
	}
	if t.held[id]--; t.held[id] == 0 {
		delete(t.held, id)
		t.prune(id)
	}
}

// advance moves a walk to the next node. It reports false if there is none.
func (t *Names[V]) advance(c *Cursor) bool {
	switch {
	case c.at != 0:
		return t.descend(c) || t.ascend(c)
	case c.begun || t.nodes.live == 0:
		return false
	}
	c.begun, c.at = true, root
	return t.descend(c)
}

// descend moves a walk to the first child that may match.
func (t *Names[V]) descend(c *Cursor) bool {
	var id uint32
	switch {
	case c.any(c.depth):
		id = t.visible(c.at, t.links.at(c.at).child)
	case c.depth < len(c.levels):
		id = t.nodes.find(c.at, []byte(c.levels[c.depth]))
	}
	if id == 0 {
		return false
	}
	c.at = id
	c.depth++
	return true
}

// ascend moves a walk to the next sibling, or that of an ancestor.
func (t *Names[V]) ascend(c *Cursor) bool {
	for c.at != root {
		parent := t.nodes.at(c.at).parent
		if c.any(c.depth - 1) {
			if id := t.visible(parent, t.links.at(c.at).next); id != 0 {
				c.at = id
				return true
			}
		}
		c.at = parent
		c.depth--
	}
	return false
}

// visible is the first of a node and its siblings that a wildcard matches.
func (t *Names[V]) visible(parent, id uint32) uint32 {
	for parent == root && id != 0 && t.nodes.hidden(t.nodes.at(id)) {
		id = t.links.at(id).next
	}
	return id
}

// hidden reports whether a node at the first level begins with $ (MQTT-4.7.2-1).
func (s *nodes) hidden(n *node) bool {
	text := s.text(n)
	return len(text) > 0 && text[0] == '$'
}
