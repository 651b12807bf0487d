package topic

// Tree maps topic filters to values, any number of values for each filter. The
// zero value is an empty tree.
//
// The filters lie in a trie with a node for each level. "#" has no node: its
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
		var level []byte
		level, rest, more = cut(rest)
		if string(level) == "#" {
			multi = true
			break
		}
		id = t.child(id, level)
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

// child returns the node of a level of a filter under parent, a new one if needed.
func (t *Tree[V]) child(parent uint32, level []byte) uint32 {
	if string(level) != "+" {
		if id := t.nodes.find(parent, level); id != 0 {
			return id
		}
		return t.nodes.add(parent, level)
	}
	plus := &t.nodes.at(parent).plus
	if *plus == 0 {
		*plus = t.nodes.alloc(parent)
	}
	return *plus
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

// prune removes id and its ancestors as far as they have neither values nor children.
func (t *Tree[V]) prune(id uint32) {
	for id != root {
		n := t.nodes.at(id)
		if n.values != 0 || n.multi != 0 || n.plus != 0 || n.children != 0 {
			return
		}
		parent := n.parent
		if p := t.nodes.at(parent); p.plus == id {
			p.plus = 0
			t.nodes.release(id)
		} else {
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
		var level []byte
		level, rest, more = cut(rest)
		if string(level) == "#" {
			multi = true
			break
		}
		if string(level) == "+" {
			id = t.nodes.at(id).plus
		} else {
			id = t.nodes.find(id, level)
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
		level, rest, more := cut(name)
		if id := t.nodes.find(root, level); id != 0 {
			t.match(id, rest, more, yield)
		}
		return
	}
	t.match(root, name, true, yield)
}

// match yields what matches under a node; more says that levels follow, rest
// what they are. The trie bounds the depth.
func (t *Tree[V]) match(id uint32, rest []byte, more bool, yield func(V)) {
	for {
		n := t.nodes.at(id)
		t.yield(n.multi, yield)
		if !more {
			t.yield(n.values, yield)
			return
		}
		if n.plus == 0 && n.children == 0 {
			return
		}
		var level []byte
		level, rest, more = cut(rest)
		if n.plus != 0 {
			t.match(n.plus, rest, more, yield)
		}
		if n.children == 0 {
			return
		}
		if id = t.nodes.find(id, level); id == 0 {
			return
		}
	}
}

func (t *Tree[V]) yield(ref uint32, yield func(V)) {
	for ref != 0 {
		e := t.values.at(ref)
		yield(e.v)
		ref = e.next
	}
}
