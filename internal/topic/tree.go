package topic

import "bytes"

// Tree maps topic filters to values, any number of values for each filter. The
// zero value is an empty tree.
//
// The filters lie in a trie. Levels without wildcards that no other filter branches
// off share a node ("dev/1/cmd" needs one), and "+" has its own. "#" has none: its
// values hang on the node of the parent level, which "#" matches as well.
type Tree[V any] struct {
	nodes  nodes
	values slab[value[V]]
}

// Ref is the place of one value in a Tree, from Add until Remove. 0 is never
// the place of a value.
type Ref uint32

// value is an element of the doubly linked list of the values of one filter.
type value[V any] struct {
	v          V
	next, prev uint32
	node       uint32
	multi      bool // the filter ends with "#"
	used       bool
}

// Len returns the number of values.
func (t *Tree[V]) Len() int { return t.values.live }

// Add adds v to the values of a valid filter and returns its place, which the
// caller keeps for Remove. The tree keeps nothing of the string. It costs
// O(levels), however many values the filter has.
func (t *Tree[V]) Add(filter string, v V) Ref {
	t.nodes.start()
	id, rest, multi := uint32(root), []byte(filter), false
	for more := true; more; {
		level, after, goesOn := cut(rest)
		switch string(level) {
		case "#":
			multi, more = true, false
		case "+":
			id, rest, more = t.plus(id), after, goesOn
		default:
			id, rest, more = t.child(id, level, rest)
		}
	}
	head := t.nodes.at(id).list(multi)
	ref := t.values.alloc()
	*t.values.at(ref) = value[V]{v: v, next: *head, node: id, multi: multi, used: true}
	if *head != 0 {
		t.values.at(*head).prev = ref
	}
	*head = ref
	return Ref(ref)
}

// plus returns the child "+" of parent, a new one if needed.
func (t *Tree[V]) plus(parent uint32) uint32 {
	plus := &t.nodes.at(parent).plus
	if *plus == 0 {
		*plus = t.nodes.alloc(parent)
	}
	return *plus
}

// child returns the node under parent for the literal levels that rest begins
// with, the first of which is level, or for some of them; and what comes behind it.
func (t *Tree[V]) child(parent uint32, level, rest []byte) (id uint32, after []byte, more bool) {
	levels := literal(rest)
	if id = t.nodes.find(parent, level); id == 0 {
		id = t.nodes.add(parent, level, levels)
		return behind(id, rest, len(levels))
	}
	text := t.nodes.text(t.nodes.at(id))
	same := common(text, levels, len(level))
	if same < len(text) {
		id = t.nodes.split(id, same)
	}
	return behind(id, rest, same)
}

// literal is what a filter has before its first wildcard, without the slash.
func literal(filter []byte) []byte {
	if i := bytes.IndexAny(filter, "+#"); i > 0 {
		return filter[:i-1]
	}
	return filter
}

// common is the length of the levels in which a and b begin alike. The first n
// bytes are a level of both.
func common(a, b []byte, n int) int {
	for at := n; ; at++ {
		endA, endB := at == len(a) || a[at] == '/', at == len(b) || b[at] == '/'
		if endA && endB {
			n = at
		}
		if at == len(a) || at == len(b) || a[at] != b[at] {
			return n
		}
	}
}

func behind(id uint32, rest []byte, n int) (_ uint32, after []byte, more bool) {
	if n == len(rest) {
		return id, nil, false
	}
	return id, rest[n+1:], true
}

// Remove removes a value in O(1), and the branch that has no others. It panics
// if the place is free: the caller has removed the value before.
func (t *Tree[V]) Remove(ref Ref) V {
	e := t.values.at(uint32(ref))
	if !e.used {
		panic("topic: Tree.Remove of a value that was removed before")
	}
	removed := *e
	if e.next != 0 {
		t.values.at(e.next).prev = e.prev
	}
	if e.prev != 0 {
		t.values.at(e.prev).next = e.next
	} else {
		*t.nodes.at(e.node).list(e.multi) = e.next
	}
	t.values.release(uint32(ref))
	t.prune(removed.node)
	return removed.v
}

// prune removes id and its ancestors as far as they have neither values nor
// children, and the last of them if it has only one child any more.
func (t *Tree[V]) prune(id uint32) {
	for id != root {
		n := t.nodes.at(id)
		if n.values != 0 || n.multi != 0 || n.plus != 0 || n.children > 1 {
			return
		}
		parent := n.parent
		plus := t.nodes.at(parent).plus == id
		switch {
		case n.children == 1:
			if !plus {
				t.nodes.join(id)
			}
			return
		case plus:
			t.nodes.at(parent).plus = 0
			t.nodes.release(id)
		default:
			t.nodes.remove(id)
		}
		id = parent
	}
	if t.Len() == 0 {
		t.nodes = nodes{} // the last value went: give back the memory
	}
}

// Find yields the values of one filter, not of those that match it, with their
// places, until yield returns false. yield may remove the value that it gets,
// and change nothing else.
func (t *Tree[V]) Find(filter string, yield func(Ref, V) bool) {
	if t.Len() == 0 {
		return
	}
	id, rest, multi := uint32(root), []byte(filter), false
	for more := true; more; {
		level, after, goesOn := cut(rest)
		switch string(level) {
		case "#":
			multi, more = true, false
		case "+":
			id, rest, more = t.nodes.at(id).plus, after, goesOn
		default:
			id, rest, more = t.nodes.follow(id, level, rest)
		}
		if id == 0 {
			return
		}
	}
	for ref := *t.nodes.at(id).list(multi); ref != 0; {
		e := t.values.at(ref)
		next := e.next
		if !yield(Ref(ref), e.v) {
			return
		}
		ref = next
	}
}

// Match calls yield for each value whose filter matches a valid name; a value
// that was added for several of them comes several times. It allocates
// nothing. yield must not change the tree.
func (t *Tree[V]) Match(name []byte, yield func(V)) {
	if t.Len() == 0 {
		return
	}
	if len(name) > 0 && name[0] == '$' { // no wildcard at the first level: MQTT-4.7.2-1
		level, _, _ := cut(name)
		if id, rest, more := t.nodes.follow(root, level, name); id != 0 {
			t.match(id, rest, more, yield)
		}
		return
	}
	t.match(root, name, true, yield)
}

// match yields what matches under a node; more says that levels follow, rest
// what they are. The trie bounds the depth.
func (t *Tree[V]) match(id uint32, rest []byte, more bool, yield func(V)) {
	for id != 0 {
		n := t.nodes.at(id)
		t.yield(n.multi, yield)
		if !more {
			t.yield(n.values, yield)
			return
		}
		if n.plus == 0 && n.children == 0 {
			return
		}
		level, after, goesOn := cut(rest)
		if n.plus != 0 {
			t.match(n.plus, after, goesOn, yield)
		}
		if n.children == 0 {
			return
		}
		id, rest, more = t.nodes.follow(id, level, rest)
	}
}

func (t *Tree[V]) yield(ref uint32, yield func(V)) {
	for ref != 0 {
		e := t.values.at(ref)
		yield(e.v)
		ref = e.next
	}
}
