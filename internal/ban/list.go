package ban

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"
)

const (
	// MaxFile bounds what is read of a file, in bytes, and maxFaults how many lines that
	// can't be read are told of. Guess.
	MaxFile   = 64 << 20
	maxFaults = 20
)

// List are the bans of a file. It does not change, so that all threads may ask it. nil
// bans nobody.
type List struct {
	Now func() time.Time // the wall clock

	clients  map[string]*Ban
	users    map[string]*Ban
	networks map[netip.Prefix]*Ban
	bits4    []int // of the networks of IPv4, the longest first
	bits6    []int // of those of IPv6
}

// Of makes a list. Of several bans of the same, the one that ends last counts.
func Of(bans []Ban) *List {
	l := &List{Now: time.Now, clients: map[string]*Ban{}, users: map[string]*Ban{}, networks: map[netip.Prefix]*Ban{}}
	for i := range bans {
		b := &bans[i]
		switch b.Kind {
		case Client:
			l.clients[b.Value] = longer(l.clients[b.Value], b)
		case User:
			l.users[b.Value] = longer(l.users[b.Value], b)
		default:
			p, err := ParseNetwork(b.Value)
			if err != nil {
				continue
			}
			bits := &l.bits6
			if p.Addr().Is4() {
				bits = &l.bits4
			}
			if !slices.Contains(*bits, p.Bits()) {
				*bits = append(*bits, p.Bits())
			}
			l.networks[p] = longer(l.networks[p], b)
		}
	}
	for _, bits := range [][]int{l.bits4, l.bits6} {
		slices.Sort(bits)
		slices.Reverse(bits)
	}
	return l
}

// longer is the ban that ends last.
func longer(a, b *Ban) *Ban {
	if a != nil && (a.Until.IsZero() || !b.Until.IsZero() && a.Until.After(b.Until)) {
		return a
	}
	return b
}

// Len is how many there are, with those that are over.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.clients) + len(l.users) + len(l.networks)
}

// Addresses reports whether addresses are banned, so that it is worth knowing one.
func (l *List) Addresses() bool { return l != nil && len(l.networks) > 0 }

// Address returns the ban of an address, nil if there is none.
func (l *List) Address(a netip.Addr) *Ban {
	if !l.Addresses() || !a.IsValid() {
		return nil
	}
	a = a.Unmap().WithZone("")
	bits := l.bits6
	if a.Is4() {
		bits = l.bits4
	}
	for _, n := range bits {
		if p, err := a.Prefix(n); err == nil {
			if b := l.inForce(l.networks[p]); b != nil {
				return b
			}
		}
	}
	return nil
}

// Client returns the ban of a client identifier, nil if there is none.
func (l *List) Client(id string) *Ban {
	if l == nil {
		return nil
	}
	return l.inForce(l.clients[id])
}

// User returns the ban of a user, nil if there is none.
func (l *List) User(name string) *Ban {
	if l == nil || name == "" {
		return nil
	}
	return l.inForce(l.users[name])
}

func (l *List) inForce(b *Ban) *Ban {
	if b == nil || b.Over(l.Now()) {
		return nil
	}
	return b
}

// Read reads a file. A line that can't be read is left out, and faults has it; err is
// why the file as a whole can't be.
func Read(name string) (bans []Ban, faults []error, err error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%s is not a file", name)
	case info.Size() > MaxFile:
		return nil, nil, fmt.Errorf("%s has %d bytes; a file of bans has %d at most", name, info.Size(), MaxFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	bans, faults = Parse(name, text)
	return bans, faults, nil
}

// Parse reads the text of a file.
func Parse(name string, text []byte) (bans []Ban, faults []error) {
	n, left := 0, 0
	for line := range bytes.Lines(text) {
		n++
		b, ok, err := ParseLine(string(line))
		switch {
		case err != nil && len(faults) < maxFaults:
			faults = append(faults, fmt.Errorf("%s:%d: %w", name, n, err))
		case err != nil:
			left++
		case ok:
			bans = append(bans, b)
		}
	}
	if left > 0 {
		faults = append(faults, fmt.Errorf("%s: %d more lines can't be read", name, left))
	}
	return bans, faults
}
