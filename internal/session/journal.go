package session

import (
	"midge/internal/message"
	"midge/internal/packet"
)

// Journal writes down what a stored session must not forget. Methods of the
// session call it before they return.
type Journal interface {
	// Finished tells that a session has no more use for a message: the client
	// has it, or it was dropped.
	Finished(session uint64, m message.Stored)

	// Began tells that a QoS 2 message is going to be sent under an
	// identifier, and returns when that will be on disk: Written names it.
	Began(session uint64, k message.Key, id packet.ID) (turn uint64)

	// Released tells that PUBREC has come: the identifier may be told PUBREL.
	Released(session uint64, k message.Key, id packet.ID)

	// Ended tells that such an exchange is over.
	Ended(session uint64, k message.Key)

	// Forgotten tells that a QoS 2 message from the client counts as received
	// no more, or that the session is over, which may be before the journal has
	// all that the message changed.
	Forgotten(session uint64, id packet.ID, over bool)
}
