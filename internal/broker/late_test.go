package broker

import (
	"sync"

	"midge/internal/packet"
)

// lateAccess is an Access that allows everything, and answers CONNECT when a
// test says so.
type lateAccess struct {
	allowAll
	mu    sync.Mutex
	asked []func(packet.ReasonCode)
}

// Connect implements Access.
func (a *lateAccess) Connect(_ Request, answer func(packet.ReasonCode)) (code packet.ReasonCode, now bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, answer)
	return 0, false
}

// answer answers all that wait, and tells how many that were.
func (a *lateAccess) answer(code packet.ReasonCode) (n int) {
	a.mu.Lock()
	asked := a.asked
	a.asked = nil
	a.mu.Unlock()
	for _, f := range asked {
		f(code)
	}
	return len(asked)
}
