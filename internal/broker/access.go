package broker

import (
	"net/netip"

	"midge/internal/packet"
)

// Access decides what clients may do. Its methods run on the threads of the
// shards, several at a time, and must not block: every client of the shard
// waits for them. The slices they get are borrowed for the call.
type Access interface {
	// Connect decides about a connection: packet.Success, or the reason to
	// refuse it with. It answers at once with now true, or later, from any
	// goroutine, by calling answer once; the client waits meanwhile.
	Connect(r Request, answer func(packet.ReasonCode)) (code packet.ReasonCode, now bool)

	// Publish decides whether a client may publish to a topic.
	Publish(clientID string, topic []byte) bool

	// Subscribe decides whether a client may subscribe to a filter, which is
	// the inner one of a shared subscription.
	Subscribe(clientID, filter string) bool
}

// Request is what Access.Connect decides about.
type Request struct {
	ClientID string
	UserName []byte // nil if there is none
	Password []byte // nil if there is none
	Remote   netip.AddrPort
}

// allowAll is the Access of a broker that has none.
type allowAll struct{}

func (allowAll) Connect(Request, func(packet.ReasonCode)) (packet.ReasonCode, bool) {
	return packet.Success, true
}
func (allowAll) Publish(string, []byte) bool   { return true }
func (allowAll) Subscribe(string, string) bool { return true }
