package rate

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// ways is how many buckets a key can have its place in.
const ways = 4

// Table has a Bucket for each of many keys. It remembers so many and no more: when
// there is no place for another, it forgets of those at its place the one that has
// all of its events back first. So nobody gets rid of what he has used by coming
// under many names. Make one with New. It is not safe for concurrent use.
type Table struct {
	seed maphash.Seed
	n    int
	sets [][ways]entry // nil before the first bucket
}

// entry is what a key has used. Its size does not depend on what is in a name.
type entry struct {
	key  uint64
	used Bucket
}

// New returns a table of so many keys: 16 bytes each, from the first on.
func New(keys int) Table { return Table{seed: maphash.MakeSeed(), n: max(1, keys/ways)} }

// Address is the key of an address: see Network.
func (t *Table) Address(a netip.Addr) uint64 {
	b := Network(a).As16()
	return maphash.Bytes(t.seed, b[:])
}

// NameAt is the key of a name at an address.
func (t *Table) NameAt(name []byte, a netip.Addr) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	b := Network(a).As16()
	h.Write(b[:])
	h.WriteByte(1)
	h.Write(name)
	return h.Sum64()
}

// Wait is how long it takes until one more event of a key is within the limit; 0: it
// is now.
func (t *Table) Wait(key uint64, l Limit, now time.Duration) time.Duration {
	return t.Get(key).Wait(l, now)
}

// Take uses an event of a key up.
func (t *Table) Take(key uint64, l Limit, now time.Duration) {
	t.place(key).used.Take(l, 1, now)
}

// Get returns what a key has used.
func (t *Table) Get(key uint64) Bucket {
	if t.sets == nil {
		return 0
	}
	if e := t.find(key); e.key == key {
		return e.used
	}
	return 0
}

// Put sets what a key has used.
func (t *Table) Put(key uint64, used Bucket) { t.place(key).used = used }

// place returns the entry of a key, a new one if there is none.
func (t *Table) place(key uint64) *entry {
	if t.sets == nil {
		t.sets = make([][ways]entry, t.n)
	}
	e := t.find(key)
	if e.key != key {
		*e = entry{key: key}
	}
	return e
}

// find returns the entry of a key or, if there is none, the one to replace.
func (t *Table) find(key uint64) *entry {
	set := &t.sets[key%uint64(len(t.sets))]
	first := &set[0]
	for i := range set {
		e := &set[i]
		if e.key == key {
			return e
		}
		if e.used < first.used {
			first = e
		}
	}
	return first
}

// Network is what counts as one address: of IPv6 a network of 64 bits, which a
// single peer has.
func Network(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is4() || !a.IsValid() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
