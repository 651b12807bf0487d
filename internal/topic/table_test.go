package topic

import (
	"slices"
	"testing"
)

// TestTable compares a table with a map, for hashes of which many are the same,
// so that buckets overflow. It grows, then shrinks to nothing.
func TestTable(t *testing.T) {
	r := newRand(t)
	var table table
	table.start()
	hashes := []uint32{0} // by number
	hashOf := func(id uint32) uint32 { return hashes[id] }
	var all []uint32
	for step := range 40_000 {
		if grow := step/10_000%2 == 0; len(all) == 0 || r.IntN(10) < 3 != grow {
			id := uint32(len(hashes))
			hash := r.Uint32()
			if r.IntN(2) == 0 {
				hash = 0xFF000000 + uint32(r.IntN(4))<<24 // four tags, one bucket
			}
			hashes = append(hashes, hash)
			table.insert(hash, id)
			table.count++
			table.grow(hashOf)
			all = append(all, id)
		} else {
			i := r.IntN(len(all))
			if r.IntN(4) == 0 { // another node takes its place
				id := uint32(len(hashes))
				hashes = append(hashes, hashes[all[i]])
				table.replace(hashes[id], all[i], id)
				all[i] = id
			}
			table.remove(hashes[all[i]], all[i])
			table.count--
			table.shrink(hashOf)
			all = slices.Delete(all, i, i+1)
		}
		if step%500 == 0 || len(all) == 0 {
			checkTable(t, &table, all, hashes)
		}
	}
	for _, id := range all {
		table.remove(hashes[id], id)
		table.count--
		table.shrink(hashOf)
	}
	checkTable(t, &table, nil, hashes)
	if table.size != 1 || table.further.live != 0 || len(table.buckets.chunks) > 2 {
		t.Errorf("the empty table has %d buckets and %d further ones, in %d chunks", table.size, table.further.live, len(table.buckets.chunks))
	}
}

// checkTable finds each node once, where its hash and its tag are, and no other.
func checkTable(t *testing.T, table *table, all, hashes []uint32) {
	t.Helper()
	seen := 0
	for i := range table.size {
		for b, end := table.buckets.at(i), false; ; b = table.further.at(b.next) {
			for at := range b.tags {
				if b.tags[at] == 0 {
					end = true
				} else if seen++; end {
					t.Fatalf("bucket %d has a gap before place %d", i, at)
				}
			}
			if b.next == 0 {
				break
			}
		}
	}
	if seen != len(all) || int(table.count) != len(all) {
		t.Fatalf("%d nodes, counted %d, want %d", seen, table.count, len(all))
	}
	for _, id := range all {
		found := 0
		for b := table.bucket(hashes[id]); ; b = table.further.at(b.next) {
			for at := b.with(tagOf(hashes[id])); at != 0; {
				if b.ids[at.next()] == id {
					found++
				}
			}
			if b.next == 0 {
				break
			}
		}
		if found != 1 {
			t.Fatalf("node %d found %d times", id, found)
		}
	}
}
