package bench

// tracker follows the sequence numbers of one flow at one subscriber.
type tracker struct {
	next   uint32 // one more than the highest that came
	unique uint32 // how many different ones came
	recent uint64 // bit n: next-1-n came
}

// verdict is what a tracker makes of a sequence number.
type verdict uint8

const (
	inOrder verdict = iota
	outOfOrder
	duplicate
)

// take notes a sequence number. progress is by how much the highest one rose.
func (t *tracker) take(seq uint32) (v verdict, progress uint32) {
	if seq >= t.next {
		progress = seq + 1 - t.next
		if progress < 64 {
			t.recent = t.recent<<progress | 1
		} else {
			t.recent = 1
		}
		t.next = seq + 1
		t.unique++
		return inOrder, progress
	}
	back := t.next - 1 - seq
	switch {
	case t.unique == t.next: // nothing is missing, so it came before
		return duplicate, 0
	case back < 64 && t.recent>>back&1 == 1:
		return duplicate, 0
	case back < 64:
		t.recent |= 1 << back
	}
	// Further back there is no telling whether it came twice or late; what
	// is missing has then come after all.
	t.unique++
	return outOfOrder, 0
}

// lost is how many of sent messages have not come.
func (t *tracker) lost(sent uint32) uint64 {
	return uint64(max(sent, t.unique) - t.unique)
}

// gaps is how many messages have not come although later ones have.
func (t *tracker) gaps() uint64 { return uint64(t.next - min(t.next, t.unique)) }

// bitset tells for each message of a flow whether it came, which a tracker
// can't when several subscribers share a subscription.
type bitset struct {
	words  []uint64
	unique uint32
}

// take notes a sequence number; false if it came before.
func (b *bitset) take(seq uint32) bool {
	at := int(seq / 64)
	for len(b.words) <= at {
		b.words = append(b.words, 0)
	}
	bit := uint64(1) << (seq % 64)
	if b.words[at]&bit != 0 {
		return false
	}
	b.words[at] |= bit
	b.unique++
	return true
}
