package auth

import (
	"net/netip"
	"sync"
	"time"

	"midge/internal/rate"
)

const (
	// perAddress is how many times as many wrong passwords come from one address
	// with any user names as with one. Behind an address there may be many devices,
	// and of these some with wrong passwords must not keep away the others. Guess.
	perAddress = 20

	// maxThrottled is how many names and addresses a Throttle remembers: a megabyte,
	// from the first wrong password on. Guess.
	maxThrottled = 1 << 16
)

// Throttle knows who gave wrong passwords: for each user name and address, and
// for each address with any names. Whoever has used up its tries is not looked at
// until it gets one back, which it does one at a time.
type Throttle struct {
	start time.Time

	mu      sync.Mutex
	name    rate.Limit // of a user name from an address
	address rate.Limit // of an address
	used    rate.Table
}

// NewThrottle returns a Throttle of so many tries, of which one is given back each
// interval; tries 0 never holds up anybody.
func NewThrottle(tries int, interval time.Duration) *Throttle {
	t := &Throttle{start: time.Now(), used: rate.New(maxThrottled)}
	t.Change(tries, interval)
	return t
}

// Change gives it other bounds. What is used up stays, in time.
func (t *Throttle) Change(tries int, interval time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.name, t.address = rate.Limit{}, rate.Limit{}
	if tries > 0 {
		t.name = rate.Limit{Events: 1, Per: interval, Burst: int64(tries)}
		t.address = rate.Limit{Events: perAddress, Per: interval, Burst: int64(tries) * perAddress}
	}
}

// Holds reports whether nobody shall look at a password of the user from the
// address.
func (t *Throttle) Holds(user []byte, from netip.Addr) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Since(t.start)
	return t.used.Wait(t.used.NameAt(user, from), t.name, now) > 0 || t.used.Wait(t.used.Address(from), t.address, now) > 0
}

// Failed takes note of a wrong password.
func (t *Throttle) Failed(user []byte, from netip.Addr) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.name.On() {
		return
	}
	now := time.Since(t.start)
	t.used.Take(t.used.NameAt(user, from), t.name, now)
	t.used.Take(t.used.Address(from), t.address, now)
}
