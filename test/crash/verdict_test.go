//go:build integration && unix

package crash

import (
	"fmt"
	"sync"
	"time"
)

const (
	// patience is how long the test waits for what must happen, when nothing
	// moves. A test that needs it has failed.
	patience = time.Minute

	window     = 32      // PUBLISH under way per publisher
	maxPending = 1 << 20 // bytes that a client has not written yet
)

// kind says what a broker has done wrong.
type kind string

const (
	lost       kind = "lost"
	duplicate  kind = "delivered twice"
	order      kind = "out of order"
	corrupt    kind = "never published"
	protocol   kind = "against the standard"
	unexpected kind = "ended by itself"
)

// verdict collects violations; the first one decides.
type verdict struct {
	mu       sync.Mutex
	found    []string
	counts   map[kind]int
	killing  bool          // connections may end
	violated chan struct{} // closed at the first violation
}

func newVerdict() *verdict {
	return &verdict{counts: map[kind]int{}, violated: make(chan struct{})}
}

func (v *verdict) violation(k kind, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[k]++
	if len(v.found) == 0 {
		close(v.violated)
	}
	if len(v.found) < 20 { // the first ones tell the story
		v.found = append(v.found, fmt.Sprintf("%s: ", k)+fmt.Sprintf(format, args...))
	}
}

func (v *verdict) failed() bool {
	select {
	case <-v.violated:
		return true
	default:
		return false
	}
}

func (v *verdict) count(k kind) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts[k]
}

func (v *verdict) setKilling(on bool) {
	v.mu.Lock()
	v.killing = on
	v.mu.Unlock()
}

// connectionEnded is told that the broker has closed a connection.
func (v *verdict) connectionEnded(client string, err error) {
	v.mu.Lock()
	killing := v.killing
	v.mu.Unlock()
	if !killing {
		v.violation(unexpected, "%s: the connection has ended, with the broker alive: %v", client, err)
	}
}

// total returns the number of violations.
func (v *verdict) total() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	sum := 0
	for _, n := range v.counts {
		sum += n
	}
	return sum
}
