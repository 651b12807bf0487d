package mqtt3

import (
	"time"

	"midge/internal/broker"
)

// mostDelay is how late a late broker answers at most: a slow disk's sync, or a
// question to another host.
const mostDelay = 10 * time.Millisecond

// lateAuthenticator is a broker.Authenticator that allows everything, after a pause.
type lateAuthenticator struct{ pause func() }

// Connect implements broker.Authenticator.
func (a lateAuthenticator) Connect(_ broker.Request, done func(broker.Verdict)) {
	go func() {
		a.pause()
		done(broker.Verdict{})
	}()
}
