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
		level, after, deeper := cut(rest)
		switch string(level) {
		case "#":
			multi, more = true, false
		case "+":
			id, rest, more = t.plus(id), after, deeper
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
		level, after, deeper := cut(rest)
		switch string(level) {
		case "#":
			multi, more = true, false
		case "+":
			id, rest, more = t.nodes.at(id).plus, after, deeper
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
		if id := t.nodes.find(root, level); id != 0 {
			if n, ok := beginsWith(name, t.nodes.text(t.nodes.at(id))); ok {
				t.match(name, place{id, uint32(n) + 1}, yield)
			}
		}
		return
	}
	t.match(name, place{root, 0}, yield)
}

// place is where a match has got to: a node, and where in the name the level
// behind it begins; behind the end of the name if none follows.
type place struct{ id, at uint32 }

// lookup is a child that a match looks for.
type lookup struct {
	bucket   *bucket
	possible places
	hash     uint32
	parent   uint32
	at, end  uint32 // its level in the name
}

// width is how many places a match goes on from side by side.
const width = 4

// match yields what matches from a place on. Each "+" makes two places of one. It
// takes a step from all of them before the next, so that the processor waits for their
// memory at the same time, and calls itself if they are too many: that deep, at
// most, as the name has levels.
func (t *Tree[V]) match(name []byte, from place, yield func(V)) {
	var both [2][width]place
	var lookups [width]lookup
	places, next := &both[0], &both[1]
	places[0] = from
	for n := 1; n > 0; {
		onward, looking := 0, 0
		for i := range n {
			p := places[i]
			node := t.nodes.at(p.id)
			if node.multi != 0 {
				t.yield(node.multi, yield)
			}
			if int(p.at) > len(name) {
				t.yield(node.values, yield)
				continue
			}
			if node.plus|node.children == 0 {
				continue
			}
			end := levelEnd(name, p.at)
			if node.children != 0 {
				l := &lookups[looking]
				looking++
				*l = lookup{parent: p.id, at: p.at, end: end, hash: t.nodes.hash(p.id, name[p.at:end])}
				l.bucket = t.nodes.table.bucket(l.hash)
				l.possible = l.bucket.with(tagOf(l.hash))
			}
			if node.plus == 0 {
				continue
			}
			if plus := (place{node.plus, end + 1}); onward+looking+n-i-1 < width {
				next[onward] = plus
				onward++
			} else {
				t.match(name, plus, yield)
			}
		}
		for i := range looking {
			l := &lookups[i]
			if l.possible == 0 && l.bucket.next == 0 {
				continue
			}
			id := t.nodes.among(l.bucket, l.possible, l.hash, l.parent, name[l.at:l.end])
			if id == 0 {
				continue
			}
			if n, ok := beginsWith(name[l.at:], t.nodes.text(t.nodes.at(id))); ok {
				next[onward] = place{id, l.at + uint32(n) + 1}
				onward++
			}
		}
		places, next = next, places
		n = onward
	}
}

// levelEnd is where the level of a name ends that begins at a place.
func levelEnd(name []byte, at uint32) uint32 {
	if i := bytes.IndexByte(name[at:], '/'); i >= 0 {
		return at + uint32(i)
	}
	return uint32(len(name))
}

func (t *Tree[V]) yield(ref uint32, yield func(V)) {
	for ref != 0 {
		e := t.values.at(ref)
		yield(e.v)
		ref = e.next
	}
}
