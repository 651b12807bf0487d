package session

import (
	"slices"

	"midge/internal/packet"
)

// ids is a small set of packet identifiers, sorted: QoS 2 messages from the
// client that await PUBREL.
type ids []packet.ID

func (s ids) has(id packet.ID) bool {
	_, found := slices.BinarySearch(s, id)
	return found
}

// add reports whether id was new.
func (s *ids) add(id packet.ID) bool {
	i, found := slices.BinarySearch(*s, id)
	if found {
		return false
	}
	*s = slices.Insert(*s, i, id)
	return true
}

// remove reports whether id was there.
func (s *ids) remove(id packet.ID) bool {
	i, found := slices.BinarySearch(*s, id)
	if !found {
		return false
	}
	*s = slices.Delete(*s, i, i+1)
	if len(*s) == 0 && cap(*s) > spare {
		*s = nil // a client had many at once; that is rare
	}
	return true
}
