package broker

import (
	"sync"

	"midge/internal/packet"
)

// lateAuthenticator lets everybody do everything, and answers when a test says so.
type lateAuthenticator struct {
	mu    sync.Mutex
	asked []func(Verdict)
}

// Connect implements Authenticator.
func (a *lateAuthenticator) Connect(_ Request, done func(Verdict)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, done)
}

// answer answers all that wait, and tells how many that were.
func (a *lateAuthenticator) answer(code packet.ReasonCode) (n int) {
	a.mu.Lock()
	asked := a.asked
	a.asked = nil
	a.mu.Unlock()
	for _, done := range asked {
		done(Verdict{Code: code})
	}
	return len(asked)
}
