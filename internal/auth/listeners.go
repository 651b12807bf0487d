package auth

import (
	"midge/internal/broker"
	"midge/internal/packet"
)

// Listeners has a Chain for each listener, by its name. It is a
// broker.Authenticator.
type Listeners map[string]*Chain

// Connect implements broker.Authenticator.
func (l Listeners) Connect(r broker.Request, done func(broker.Verdict)) {
	c := l[r.Listener]
	if c == nil {
		done(broker.Verdict{Code: packet.NotAuthorized, Reason: "nobody decides who may connect to this listener"})
		return
	}
	c.Connect(r, done)
}
