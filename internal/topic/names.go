package topic

// Names maps topic names to values, one for each name, and finds those that a
// filter matches: retained messages. The zero value is empty.
//
// Its trie is that of a Tree with lists of children added, which a wildcard
// has to walk.
type Names[V any] struct {
	nodes  nodes
	links  slab[link] // by the number of the node; never allocated or released by itself
	values slab[V]
	held   map[uint32]int // nodes that a Cursor is at, with the number of them
}

// link ties a node into the list of its parent's children.
type link struct{ child, next, prev uint32 }

// Len returns the number of names.
func (t *Names[V]) Len() int { return t.values.live }

// node returns the node of a name, 0 if there is none.
func (t *Names[V]) node(name []byte) uint32 {
	if t.Len() == 0 {
		return 0
	}
	id := uint32(root)
	for more := true; more && id != 0; {
		var level []byte
		level, name, more = cut(name)
		id = t.nodes.find(id, level)
	}
	return id
}

// Get returns the value of a name.
func (t *Names[V]) Get(name []byte) (v V, ok bool) {
	id := t.node(name)
	if id == 0 {
		return v, false
	}
	ref := t.nodes.at(id).values
	if ref == 0 {
		return v, false
	}
	return *t.values.at(ref), true
}

// Set gives a valid name a value, and returns the one that it had. It keeps
// nothing of the slice.
func (t *Names[V]) Set(name []byte, v V) (old V, replaced bool) {
	t.nodes.start()
	t.links.reach(root)
	id := uint32(root)
	for more := true; more; {
		var level []byte
		level, name, more = cut(name)
		id = t.child(id, level)
	}
	n := t.nodes.at(id)
	if n.values != 0 {
		place := t.values.at(n.values)
		old, *place = *place, v
		return old, true
	}
	n.values = t.values.alloc()
	*t.values.at(n.values) = v
	return old, false
}

// child returns the node of a level under parent, a new one if needed.
func (t *Names[V]) child(parent uint32, level []byte) uint32 {
	if id := t.nodes.find(parent, level); id != 0 {
		return id
	}
	id := t.nodes.add(parent, level, level)
	t.links.reach(id)
	first := &t.links.at(parent).child
	*t.links.at(id) = link{next: *first}
	if *first != 0 {
		t.links.at(*first).prev = id
	}
	*first = id
	return id
}

// Delete removes a name, and the branch that has no others. It returns the
// value that the name had.
func (t *Names[V]) Delete(name []byte) (old V, ok bool) {
	id := t.node(name)
	if id == 0 {
		return old, false
	}
	n := t.nodes.at(id)
	if n.values == 0 {
		return old, false
	}
	old = *t.values.at(n.values)
	t.values.release(n.values)
	n.values = 0
	t.prune(id)
	return old, true
}

// prune removes id and its ancestors as far as they have neither value nor children.
func (t *Names[V]) prune(id uint32) {
	for id != root {
		n := t.nodes.at(id)
		if n.values != 0 || n.children != 0 || len(t.held) > 0 && t.held[id] > 0 {
			return
		}
		parent, l := n.parent, *t.links.at(id)
		if l.next != 0 {
			t.links.at(l.next).prev = l.prev
		}
		if l.prev != 0 {
			t.links.at(l.prev).next = l.next
		} else {
			t.links.at(parent).child = l.next
		}
		t.nodes.remove(id)
		id = parent
	}
	if t.Len() == 0 && len(t.held) == 0 {
		*t = Names[V]{} // the last name went: give back the memory
	}
}
