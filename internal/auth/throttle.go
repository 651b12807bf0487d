package auth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// perAddress is how many times as many wrong passwords come from one address
	// with any user names as with one. Behind an address there may be many devices,
	// and of these some with wrong passwords must not keep away the others. Guess.
	perAddress = 20

	// debtSets times debtWays is how many a Throttle remembers: a megabyte, from the
	// first wrong password on. Guess.
	debtSets = 1 << 14
	debtWays = 4
)

// Throttle knows who gave wrong passwords: for each user name and address, and
// for each address with any names. Whoever has used up its tries is not looked at
// until it gets one back, which it does one at a time.
type Throttle struct {
	start time.Time
	seed  maphash.Seed

	mu       sync.Mutex
	tries    int
	interval time.Duration    // after which one try is given back
	sets     [][debtWays]debt // a key has its place in one of them; nil before the first wrong password
}

// debt is what somebody owes. Its size does not depend on what is in a name.
type debt struct {
	key   uint64
	until time.Duration // since start: when all tries are given back
}

// NewThrottle returns a Throttle; tries 0 never holds up anybody.
func NewThrottle(tries int, interval time.Duration) *Throttle {
	return &Throttle{tries: tries, interval: interval, start: time.Now(), seed: maphash.MakeSeed()}
}

// Change gives it other bounds. What is owed stays, in time.
func (t *Throttle) Change(tries int, interval time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tries, t.interval = tries, interval
}

// Holds reports whether nobody shall look at a password of the user from the
// address.
func (t *Throttle) Holds(user []byte, from netip.Addr) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tries == 0 || t.sets == nil {
		return false
	}
	now := time.Since(t.start)
	left := func(key uint64, tries int, interval time.Duration) bool {
		d := t.find(key)
		return d.key != key || d.until-now <= time.Duration(tries-1)*interval
	}
	return !left(t.of(user, from), t.tries, t.interval) || !left(t.ofAddress(from), t.tries*perAddress, t.interval/perAddress)
}

// Failed takes note of a wrong password.
func (t *Throttle) Failed(user []byte, from netip.Addr) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tries == 0 {
		return
	}
	if t.sets == nil {
		t.sets = make([][debtWays]debt, debtSets)
	}
	now := time.Since(t.start)
	t.owe(t.of(user, from), now, t.interval)
	t.owe(t.ofAddress(from), now, t.interval/perAddress)
}

// owe takes a try away.
func (t *Throttle) owe(key uint64, now, interval time.Duration) {
	d := t.find(key)
	if d.key != key {
		*d = debt{key: key}
	}
	d.until = max(d.until, now) + interval
}

// find returns the debt of a key or, if there is none, the one to replace: of
// those at its place the one that is over first. So nobody gets rid of what he owes
// by owing under many names.
func (t *Throttle) find(key uint64) *debt {
	set := &t.sets[key%debtSets]
	first := &set[0]
	for i := range set {
		d := &set[i]
		if d.key == key {
			return d
		}
		if d.until < first.until {
			first = d
		}
	}
	return first
}

func (t *Throttle) of(user []byte, from netip.Addr) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	a := network(from).As16()
	h.Write(a[:])
	h.WriteByte(1)
	h.Write(user)
	return h.Sum64()
}

func (t *Throttle) ofAddress(from netip.Addr) uint64 {
	a := network(from).As16()
	return maphash.Bytes(t.seed, a[:])
}
