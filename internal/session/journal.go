package session

import (
	"midge/internal/message"
	"midge/internal/packet"
)

// Journal writes down what a stored session must not forget. The session calls
// it before its own methods return.
type Journal interface {
	// Finish is called when a session has no more use for a message: the client
	// has it, or it was dropped.
	Finish(session uint64, m message.Stored)

	// Begin is called before a QoS 2 message is sent under an identifier. It
	// returns the turn after which that is on disk: Committed names it.
	Begin(session uint64, k message.Key, id packet.ID) (turn uint64)

	// AwaitPubcomp is called when PUBREC has come: the answer to the
	// identifier is PUBREL from now on (MQTT-4.3.3-6).
	AwaitPubcomp(session uint64, k message.Key, id packet.ID)

	// End is called when the exchange that has begun is over.
	End(session uint64, k message.Key)

	// Forget is called when a QoS 2 message from the client does not count as
	// received any more (MQTT-4.3.3-12), or when the session is over, which may
	// be before the journal has all that the message changed.
	Forget(session uint64, id packet.ID, over bool)
}
