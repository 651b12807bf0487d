package mqtt3

import (
	"time"

	"midge/internal/broker"
	"midge/internal/packet"
)

// mostDelay is how late a late broker answers at most: a slow disk's sync, or a
// question to another host.
const mostDelay = 10 * time.Millisecond

// lateAccess is a broker.Access that allows everything, after a pause.
type lateAccess struct{ pause func() }

// Connect implements broker.Access.
func (a lateAccess) Connect(_ broker.Request, answer func(packet.ReasonCode)) (code packet.ReasonCode, now bool) {
	go func() {
		a.pause()
		answer(packet.Success)
	}()
	return 0, false
}

// Publish implements broker.Access.
func (lateAccess) Publish(string, []byte) bool { return true }

// Subscribe implements broker.Access.
func (lateAccess) Subscribe(string, string) bool { return true }
