package mqtt3

import (
	"time"

	"midge/internal/broker"
	"midge/internal/packet"
)

// mostDelay is how late a late broker answers at most: a slow disk's sync, or a
// question to another host.
const mostDelay = 10 * time.Millisecond

// lateAuthenticator is a broker.Authenticator that allows everything, after a pause,
// and knows no authentication method.
type lateAuthenticator struct{ pause func() }

// Connect implements broker.Authenticator.
func (a lateAuthenticator) Connect(r broker.Request, done func(broker.Verdict)) {
	var v broker.Verdict
	if r.Method != "" {
		v = broker.Verdict{Code: packet.BadAuthenticationMethod, Refusal: broker.UnknownMethod}
	}
	go func() {
		a.pause()
		done(v)
	}()
}
